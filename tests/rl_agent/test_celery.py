from __future__ import annotations

import os
import subprocess

import psutil
import pytest
from ladle_site import wait_until
from logged_site import log_of, write_log
from small_round import UNBOUNDED

from broker_config.settings import Settings, environment
from planner.cli.processes import retrain_command
from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.placing.rules import RandomPlacer

STOPPED_WITHIN_S = 60.0


@pytest.fixture
def worker(tmp_path):
    """Start the plain Celery command with these settings; it ends with the test. Returns process and log."""
    started = []

    def start(**changes):
        settings = Settings(_env_file=None, data_dir=tmp_path, retrain_every_s=1.0, **UNBOUNDED, **changes)
        log = tmp_path / f"train-{len(started)}.log"
        with log.open("wb") as output:
            variables = {**os.environ, **environment(settings)}
            started.append(subprocess.Popen(retrain_command(), env=variables, stdout=output, stderr=output))
        return psutil.Process(started[-1].pid), log

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def written(tmp_path):
    """Write so many jobs of a small site into the log that the settings name."""

    def write(jobs):
        rows = log_of(ScenarioSpec(n_nodes=2, jobs_per_node=40).draw(0), RandomPlacer(seed=0))
        write_log(Settings(_env_file=None, data_dir=tmp_path).database, rows[:jobs])

    return write


def test_the_beat_begins_a_round_at_low_priority(worker, written):
    # Given a log with too little in it, so that a round is short
    written(10)
    # When the plain Celery command runs
    process, log = worker()
    # Then it does a round
    wait_until(lambda: "10 usable experiences, 60 are needed" in log.read_text(), "a round")
    assert process.nice() == min(os.nice(0) + 15, 19)


@pytest.mark.fault(25, "B")
def test_a_worker_killed_in_mid_round_leaves_no_beat_behind_and_the_next_one_goes_on(worker, written, tmp_path):
    # Given a round that has left a checkpoint
    written(80)
    process, _ = worker(retrain_seconds=600.0)
    wait_until((tmp_path / "retraining" / "checkpoint.safetensors").exists, "a checkpoint")
    beat = process.children()
    assert len(beat) == 1
    # When the worker is killed
    process.kill()
    # Then its beat ends, too
    _, left = psutil.wait_procs(beat, STOPPED_WITHIN_S)
    assert left == []
    # And the next worker goes on
    _, log = worker(retrain_seconds=600.0)
    wait_until(lambda: "resuming after 10 trials" in log.read_text(), "the rest of the round")


def test_a_worker_that_is_told_to_stop_does_not_wait_for_its_round(worker, written, tmp_path):
    written(80)
    process, log = worker(retrain_seconds=3_600.0)
    wait_until(lambda: "twin: " in log.read_text(), "a round")
    process.terminate()
    process.wait(STOPPED_WITHIN_S)
    assert "the next round resumes from the checkpoint" in log.read_text()


def test_without_its_packages_it_ends_with_what_to_install(base_install, tmp_path):
    ended = base_install.run(*retrain_command()[1:], LADLE_DATA_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "ladle retrain: the trainer needs torch, stable_baselines3" in ended.stdout
    assert "pip install '.[train]' in a checkout of Ladle" in ended.stdout
    assert "Traceback" not in ended.stdout
