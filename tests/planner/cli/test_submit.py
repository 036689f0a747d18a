"""`ladle submit`, before and while it waits. Whole jobs are in tests/acceptance."""

from __future__ import annotations

import threading

import pytest

from broker_config.messages import Event, EventKind
from planner.cli.submit import _watch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "nowhere/heart.png"), "'nowhere' is no folder that can be written: make it first"),
        (("--out", "heart"), "'heart' needs an ending such as .png or .jpg"),
        (("--out", "heart.txt"), "'heart.txt' needs an ending"),
        (("--out", "heart.png", "--no-wait"), "give one of the two"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_before_anything_is_queued(ladle, data_dir, options, said):
    result = ladle("submit", "a red heart", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())
    assert not data_dir.exists()


def test_a_file_that_can_be_written_is_none_to_complain_about(ladle, data_dir):
    for name in ("heart.png", "heart.JPG"):
        result = ladle("submit", "", "--out", name)
        assert "prompt: must not be empty" in result.output


class Handle:
    """A job of which nothing is heard until patience has come to its end."""

    def events(self):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        yield Event(job="job-1", kind=EventKind.ACCEPTED)
        yield Event(job="job-1", kind=EventKind.DONE)


def test_while_no_planner_answers_it_says_so_once_and_goes_on_waiting(capsys):
    _watch(Handle(), patience_s=0.01)
    said = capsys.readouterr().err
    assert said.count("no planner answered within 0.01 s: start one with `ladle planner`") == 1
