"""What a node holds, how long that takes, and whether it still answers as predicted."""

from __future__ import annotations

import math

import pytest
from live_attempts import an_attempt

from broker_config.messages import NodeReport
from planner.state.breaker import Breaker
from planner.state.cluster import OVERDUE_FACTOR, OVERDUE_SLACK_S, Clock, LiveNode, NodeState
from planner.state.needs import Needs

NOW_S = 1000.0


def node(name="a", state=NodeState.READY, reported="ready", **report):
    said = {"node": name, "instance": "1", "hostname": "here", "state": reported, "interval_s": 2.0, **report}
    return LiveNode(name=name, state=state, seen_at=NOW_S, report=NodeReport(**said))


def attempt(job="job-1", predicted_s=10.0, **fields):
    return an_attempt(job=job, predicted_s=predicted_s, placed_at=NOW_S, **fields)


def test_the_first_attempt_begins_when_it_comes_and_the_next_when_that_is_gone():
    held = node()
    first, second = attempt("job-1"), attempt("job-2")
    held.add(first, NOW_S)
    held.add(second, NOW_S + 1)
    assert (first.begins_at, second.begins_at) == (NOW_S, None)
    assert held.remove(first.key, NOW_S + 7) is first
    assert held.head is second
    assert second.begins_at == NOW_S + 7
    assert held.remove(first.key, NOW_S + 8) is None


def test_the_backlog_is_what_is_left_of_the_first_and_all_of_the_others():
    held = node()
    held.add(attempt("job-1", 10.0), NOW_S)
    held.add(attempt("job-2", 4.0), NOW_S)
    assert held.backlog_s(NOW_S + 3) == pytest.approx(7.0 + 4.0)


def test_a_node_is_overdue_when_its_first_attempt_takes_far_longer_than_predicted():
    held = node()
    assert not held.is_overdue(NOW_S)
    held.add(attempt(predicted_s=10.0), NOW_S)
    limit_s = OVERDUE_FACTOR * 10.0 + OVERDUE_SLACK_S
    assert not held.is_overdue(NOW_S + limit_s)
    assert held.is_overdue(NOW_S + limit_s + 0.1)
    assert held.room(2.0, NOW_S + limit_s + 0.1) == 0.0


def test_only_a_ready_node_has_room_and_only_up_to_the_window():
    held = node()
    assert held.room(2.0, NOW_S) == 2.0
    held.add(attempt(), NOW_S)
    assert held.room(2.0, NOW_S) == 1.0
    assert held.room(math.inf, NOW_S) == math.inf
    assert all(node(state=state).room(2.0, NOW_S) == 0.0 for state in NodeState if state is not NodeState.READY)


@pytest.mark.parametrize(
    ("reported", "is_drained", "state"),
    [
        ("ready", False, NodeState.READY),
        ("ready", True, NodeState.DRAINING),
        ("draining", False, NodeState.DRAINING),
        ("unfit", True, NodeState.UNFIT),
    ],
)
def test_the_state_follows_the_report_and_the_drain(reported, is_drained, state):
    held = node(state=NodeState.GONE, reported=reported)
    held.draining = is_drained
    held.update_state()
    assert held.state is state


def test_a_node_survives_its_row():
    held = node(models=("tiny",))
    held.drift_alarms = {"tiny": {"factor": 5.0, "since": NOW_S}}
    again = LiveNode.from_row(held.row(NOW_S, "because"), NOW_S)
    assert again == held


def test_a_placer_sees_the_models_that_will_be_in_memory_behind_what_the_node_holds():
    held = node(resident=("old",), resident_limit=2)
    held.add(attempt(model="new"), NOW_S)
    view = held.view(2.0, NOW_S)
    assert set(view.resident) == {"old", "new"}
    assert (view.room, view.backlog_s) == (1, 10.0)


def test_a_node_whose_breaker_is_open_admits_one_trial_when_it_is_due():
    barred = node("a")
    barred.breakers["tiny"] = Breaker(is_open=True, retry_at=NOW_S + 1.0, reason="internal: disk full")
    assert not barred.admits(Needs("tiny"), NOW_S)
    assert barred.admits(Needs("another"), NOW_S)
    assert barred.admits(Needs("tiny"), NOW_S + 1.0)
    barred.add(attempt(model="tiny"), NOW_S)
    assert not barred.admits(Needs("tiny"), NOW_S + 1.0)
    assert "no jobs of tiny until a trial succeeds (internal: disk full)" in barred.note


def test_adapters_are_in_memory_as_long_as_their_model_is():
    held = node(resident=("tiny",), resident_limit=1, abilities={"loaded_adapters": {"tiny": ["oil"], "old": ["x"]}})
    assert held.adapters == {"tiny": {"oil"}}
    held.add(attempt("job-1", model="tiny", adapters=("sketch",)), NOW_S)
    assert held.view(2.0, NOW_S).adapters == {"tiny": {"oil", "sketch"}}
    held.add(attempt("job-2", model="new"), NOW_S)
    assert held.adapters == {}


def test_the_clock_never_goes_back():
    clock = Clock()
    readings = [clock.now() for _ in range(100)]
    assert readings == sorted(readings)
