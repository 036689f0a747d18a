"""What takes too long is seen in the log, with where it stands."""

from __future__ import annotations

import logging
import time

from planner.turns.watchdog import Watchdog


def linger(until):
    while not until():
        time.sleep(0.005)


def test_work_over_its_budget_is_logged_with_its_stack_and_ends_undisturbed(caplog, request):
    caplog.set_level(logging.ERROR)
    watchdog = Watchdog("the test", 0.05)
    request.addfinalizer(watchdog.end)
    with watchdog.watch(), watchdog.watch():
        linger(lambda: caplog.records)
    assert "the test has taken" in caplog.text
    assert "in linger" in caplog.text


def test_work_within_its_budget_is_not_mentioned(caplog, request):
    watchdog = Watchdog("the test", 5.0)
    request.addfinalizer(watchdog.end)
    for _ in range(10):
        with watchdog.watch():
            time.sleep(0.001)
    assert caplog.records == []
