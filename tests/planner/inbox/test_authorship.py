"""A message is held to its routing key, which the broker holds to its sender."""

from __future__ import annotations

import pytest

from planner.inbox.authorship import overreach

OUTCOME = {"outcome": {"node": "e1", "result": "done"}}
REPORT = {"report": {"node": "e1"}}
LETTER = {"queue": "node.e1", "reason": "odd"}


@pytest.mark.parametrize(
    ("exchange", "key", "task", "kwargs"),
    [
        *(("ladle.jobs", kind, f"planner.{kind}", {}) for kind in ("submit", "cancel", "reconcile")),
        *(("ladle.admin", f"admin.{kind}", f"planner.{kind}", {}) for kind in ("drain", "remove")),
        ("ladle.outcomes", "outcome.e1.done", "planner.record", OUTCOME),
        ("ladle.outcomes", "outcome.e1.report", "planner.report", REPORT),
        ("ladle.dead", "dead.node.e1", "planner.record_dead_letter", LETTER),
    ],
)
def test_what_ladle_sends_is_its_own(exchange, key, task, kwargs):
    assert overreach(exchange, key, task, kwargs) is None


@pytest.mark.parametrize(
    ("exchange", "key", "task", "kwargs"),
    [
        ("ladle.jobs", "submit", "planner.drain", {"node": "e1", "on": True}),
        ("ladle.jobs", "drain", "planner.drain", {"node": "e1", "on": True}),
        ("ladle.jobs", "admin.drain", "planner.drain", {"node": "e1", "on": True}),
        ("ladle.admin", "submit", "planner.submit", {"jobs": []}),
        ("client.alice.x", "submit", "planner.submit", {"jobs": []}),
        ("ladle.jobs", "submit", "planner.record", OUTCOME),
        ("ladle.jobs", "submit", "planner.record_dead_letter", LETTER),
        ("ladle.outcomes", "outcome.e2.done", "planner.record", OUTCOME),
        ("ladle.outcomes", "outcome.e1.failed", "planner.record", OUTCOME),
        ("ladle.outcomes", "outcome.e2.report", "planner.report", REPORT),
        ("ladle.outcomes", "outcome.e1.report", "planner.record", OUTCOME),
        ("ladle.outcomes", "outcome.e1.done", "planner.submit", {"jobs": []}),
        ("ladle.outcomes", "outcome.e1.done", "planner.record", {}),
        ("ladle.outcomes", "outcome.e1.done", "planner.record", {"outcome": "done"}),
        ("ladle.dead", "dead.node.e2", "planner.record_dead_letter", LETTER),
        ("ladle.dead", "dead.node.e1", "planner.cancel", {"jobs": ["x"]}),
        ("ladle.nodes", "node.e1", "planner.submit", {}),
        ("", "planner", "planner.submit", {}),
    ],
)
def test_whatever_goes_beyond_its_key_is_refused_and_says_so(exchange, key, task, kwargs):
    reason = overreach(exchange, key, task, kwargs)
    assert reason is not None
    assert task in reason
    assert repr(key) in reason
