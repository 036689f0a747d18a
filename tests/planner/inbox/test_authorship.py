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
        *(("ladle.jobs", kind, f"planner.{kind}", {}) for kind in ("submit", "cancel", "set_priority", "reconcile")),
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


SUBMIT = {"jobs": [{"job": "ann.1", "client": "ann.0f"}, {"job": "ann.2", "client": "ann.1e"}]}


@pytest.mark.parametrize("user", ["client.ann", "link.ann", "guest", "planner.main", "ann", None])
def test_a_user_speaks_for_clients_of_its_own_name_and_one_with_all_rights_for_all(user):
    assert overreach("ladle.jobs", "submit", "planner.submit", SUBMIT, user) is None
    assert overreach("ladle.jobs", "reconcile", "planner.reconcile", {"client": "ann.0f", "jobs": []}, user) is None


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("user", ["client.bob", "link.bob", "client.an", "node.ann2", "trainer.main"])
@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("submit", SUBMIT),
        ("submit", {"jobs": [{"client": "bob.1"}, {"client": "ann.0f"}]}),
        ("submit", {"jobs": [{"client": "bob"}]}),
        ("submit", {"jobs": [{}]}),
        ("set_priority", {"client": "ann.0f", "jobs": ["x"], "priority": 2}),
        ("reconcile", {"client": "ann.0f", "jobs": ["x"]}),
        ("reconcile", {"client": "x" * 500, "jobs": []}),
        ("reconcile", {"jobs": []}),
    ],
)
def test_a_user_who_speaks_for_another_is_named_in_the_reason(user, kind, kwargs):
    reason = overreach("ladle.jobs", kind, f"planner.{kind}", kwargs, user)
    assert reason is not None
    assert f"forged: user {user} names client" in reason
    assert len(reason) < 300


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("kind", ["submit", "cancel", "set_priority", "reconcile"])
def test_what_does_not_say_whose_it_is_is_refused_where_the_broker_knows(kind):
    reason = overreach("ladle.jobs", kind, f"planner.{kind}", {}, "")
    assert reason is not None
    assert "user_id" in reason
