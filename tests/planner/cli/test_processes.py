"""Processes that are started, started again, and always stopped."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from ladle_site import wait_until

from broker_config.settings import Settings
from planner.cli.processes import MAX_EARLY_DEATHS, Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_dies_is_started_again(tmp_path):
    with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
        service = processes.start("sleeper", SLEEP)
        first = service.process.pid
        time.sleep(1.1)  # one that dies sooner is left alone for a moment
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: service.restarts == 1, "a restart")
        second = service.process.pid
        assert is_alive(second)
    assert second != first
    assert not is_alive(second)


def test_an_interrupt_and_a_second_one_leave_no_process_behind(tmp_path):
    pids = []
    try:
        with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
            pids += [processes.start(f"sleeper-{index}", SLEEP).process.pid for index in range(3)]
            signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pids.append(0)
    assert pids.pop() == 0
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what Python makes of the interrupt
def test_an_interrupt_that_python_drops_ends_the_group_at_its_next_look(tmp_path):
    class Gone:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
        pid = processes.start("sleeper", SLEEP).process.pid
        Gone()
        assert is_alive(pid)
        with pytest.raises(KeyboardInterrupt):
            processes.raise_if_interrupted()
    assert not is_alive(pid)


def test_a_worker_has_its_grace_time_to_end_and_not_for_ever(tmp_path, monkeypatch):
    slow = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(%s), sys.exit(7))); "
    slow += "print('up', flush=True); time.sleep(600)"
    monkeypatch.setattr("planner.cli.processes.STOP_MARGIN_S", 0.0)
    ends = {}
    for name, grace_s, takes_s in (("patient", 60.0, 0.5), ("hasty", 0.1, 600)):
        with Processes(settings=Settings(data_dir=tmp_path, grace_s=grace_s), logs=tmp_path / name) as processes:
            service = processes.start("slow", [sys.executable, "-c", slow % takes_s])
            wait_until(service.log.read_text, "its handler")
        ends[name] = service.process.returncode
    assert ends == {"patient": 7, "hasty": -signal.SIGKILL}


def test_children_get_the_settings_of_the_group_and_their_own(tmp_path):
    show = [sys.executable, "-c", "import os; print(os.environ['LADLE_WINDOW'], os.environ['LADLE_DEVICE'])"]
    with Processes(settings=Settings(data_dir=tmp_path, window=5), logs=tmp_path / "logs") as processes:
        service = processes.start("shower", show, LADLE_DEVICE="cuda:7")
        wait_until(lambda: service.log.read_text(), "its output")
    assert service.log.read_text().split()[:2] == ["5.0", "cuda:7"]


def test_a_process_that_ends_at_once_three_times_is_not_started_again_and_says_its_last_line(tmp_path):
    fail = [sys.executable, "-c", "raise SystemExit('ladle worker: no such device\\n')"]
    with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
        sleeper = processes.start("sleeper", SLEEP)
        service = processes.start("worker", fail)
        wait_until(lambda: service.is_given_up, "three ends")
        assert processes.given_up() == [service]
        assert (service.restarts, service.log.read_text().count("no such device")) == (2, 3)
        assert is_alive(sleeper.process.pid)
    said = service.why_given_up()
    assert "ended at once 3 times and is not started again" in said
    assert "Its last line: ladle worker: no such device  (more in" in said


def test_one_that_is_killed_from_outside_is_always_started_again(tmp_path):
    with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
        service = processes.start("victim", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
        wait_until(lambda: service.restarts > MAX_EARLY_DEATHS, "the restarts")
    assert not service.is_given_up


def test_one_that_has_run_for_a_while_is_always_started_again(tmp_path):
    with Processes(settings=Settings(data_dir=tmp_path), logs=tmp_path / "logs") as processes:
        service = processes.start("fails", [sys.executable, "-c", "raise SystemExit(1)"])
        service.has_run = True
        wait_until(lambda: service.restarts > MAX_EARLY_DEATHS, "the restarts")
    assert not service.is_given_up


def test_each_process_has_a_port_for_its_metrics(tmp_path):
    with Processes(settings=Settings(data_dir=tmp_path, metrics_port=9400), logs=tmp_path / "logs") as processes:
        started = [processes.start(name, SLEEP) for name in ("planner", "node-1")]
        assert [service.variables["LADLE_METRICS_PORT"] for service in started] == ["9400", "9401"]
