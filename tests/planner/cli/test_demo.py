"""Parts of `ladle demo`; the whole is in tests/acceptance/test_demo.py."""

from __future__ import annotations

import sys

import click
import pytest

from broker_config.errors import LadleError
from broker_config.messages import Event, EventKind
from broker_config.settings import Settings
from planner.cli.demo import OWN_FOLDER_MARK, _bar, _Board, _fresh_folder, _wait_for_nodes, _Watched
from planner.cli.processes import Processes


def test_the_folder_of_an_earlier_demo_is_emptied(tmp_path):
    data = _fresh_folder(tmp_path / "out")
    (data / "old").touch()
    assert _fresh_folder(tmp_path / "out") == data
    assert [path.name for path in data.iterdir()] == [OWN_FOLDER_MARK]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").touch()
    with pytest.raises(click.ClickException, match="was not made by a demo"):
        _fresh_folder(tmp_path)
    assert (tmp_path / "data" / "thesis.tex").exists()


def test_the_board_follows_a_job_to_its_end():
    board = _Board(jobs={"job-1": _Watched(prompt="a red heart", image_steps=4)})
    job = board.jobs["job-1"]
    for kind, fields, state in [
        (EventKind.PLACED, {"node": "fast"}, "placed"),
        (EventKind.STARTED, {"node": "fast"}, "drawing"),
        (EventKind.STEP, {"step": 3, "image_steps": 4}, "drawing"),
        (EventKind.STEP, {}, "drawing"),
        (EventKind.DONE, {}, "done"),
    ]:
        board.take(Event(job="job-1", kind=kind, **fields))
        assert job.state == state
    assert (job.node, job.step, board.done) == ("fast", 3, 1)


def test_a_bar_is_as_full_as_the_job_is_far():
    assert [_bar(step, 4, width=4) for step in (0, 2, 4)] == ["░░░░", "██░░", "████"]
    assert _bar(0, 0, width=2) == "░░"


def test_a_process_that_ends_at_once_ends_the_demo_with_its_last_line(tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    fail = [sys.executable, "-c", "raise SystemExit('ladle worker: no such device')"]
    with Processes(settings=settings, logs=tmp_path / "logs") as processes:
        processes.start("fast", fail)
        with pytest.raises(LadleError, match=r"fast ended at once 3 times .* no such device"):
            _wait_for_nodes(settings, processes)
