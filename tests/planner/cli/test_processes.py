"""Processes that are started, started again, and always stopped."""

from __future__ import annotations

import os
import signal
import sys
import time

from ladle_site import wait_until

from broker_config.settings import Settings
from planner.cli.processes import Processes

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
