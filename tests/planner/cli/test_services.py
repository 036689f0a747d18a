"""`ladle up`, `planner` and `worker` before they start anything; running, they are in tests/acceptance."""

from __future__ import annotations

import sys

import pytest

from broker_config.errors import ConfigurationError, LadleError
from broker_config.settings import Settings
from planner.cli.processes import Processes
from planner.cli.services import _can_retrain, _check, _show_until_interrupted, console
from planner.ledger.ledger import Ledger


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path / "data", placer="least-backlog")


def test_a_rule_is_retrained_beside_only_when_that_is_asked_for(settings):
    pytest.importorskip("stable_baselines3")
    assert not _can_retrain(settings, is_asked=False)
    assert _can_retrain(settings, is_asked=True)
    assert _can_retrain(settings.with_changes(placer="lad-ts"), is_asked=False)


def test_before_a_planner_starts_there_are_a_folder_and_tables(settings):
    _check(settings)
    ledger = Ledger(settings.database)
    assert ledger.has_tables()
    ledger.close()


def test_a_placer_that_cannot_be_made_is_named_before_anything_starts(settings):
    with pytest.raises(ConfigurationError, match="no_such_module"):
        _check(settings.with_changes(placer="no_such_module:Placer"))
    assert not settings.data_dir.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--nodes", "0"),
        ("up", "--retrain-every", "soon"),
        ("worker", "--node", "a", "--engine", "magic"),
        ("worker",),
    ],
)
def test_a_wrong_option_ends_before_anything_starts(ladle, data_dir, arguments):
    assert ladle(*arguments).exit_code == 2
    assert not data_dir.exists()


def test_up_says_what_ends_at_once_and_ends_when_nothing_is_left(settings, tmp_path):
    _check(settings)
    fail = [sys.executable, "-c", "raise SystemExit('ladle worker: no such device')"]
    with Processes(settings=settings, logs=tmp_path / "logs") as processes, console.capture() as shown:
        processes.start("node-1", fail)
        with pytest.raises(LadleError, match="nothing is left running: see"):
            _show_until_interrupted(settings, processes)
    said = " ".join(shown.get().split())
    assert said.count("node-1 ended at once 3 times and is not started again") == 1
    assert "Its last line: ladle worker: no such device" in said
