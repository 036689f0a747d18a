"""Every message that crosses the wire: where it goes, and that its reader finds what its sender wrote."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest
from image_requests import an_image_request
from pydantic import ValidationError

from broker_config import calls
from broker_config.calls import (
    TO_PLANNER,
    Call,
    Cancel,
    Drain,
    Generate,
    GenerateShared,
    Progress,
    Reconcile,
    Record,
    RecordDeadLetter,
    Remove,
    Report,
    Retrain,
    SetPriority,
    Submit,
    Tell,
    Withdraw,
    attempt_in,
    attempt_of,
    jobs_named_in,
    task_id_of,
)
from broker_config.messages import Assignment, Event, EventKind

ROOT = Path(calls.__file__).parent.parent
REQUEST = an_image_request()
ASSIGNMENT = Assignment(job="order-7", attempt=2, node="a", client="c", request=REQUEST, limit_s=60.0)
SUBMISSION = {"job": "j", "client": "c", "request": REQUEST}
CALLS = [
    (Submit([SUBMISSION]), "ladle.jobs", "submit"),
    (Cancel(["j", "k"]), "ladle.jobs", "cancel"),
    (SetPriority("c", ["j"], 0), "ladle.jobs", "set_priority"),
    (Reconcile("c", ["j"]), "ladle.jobs", "reconcile"),
    (Drain("a", True, 7200.0), "ladle.admin", "admin.drain"),
    (Remove("a"), "ladle.admin", "admin.remove"),
    (Record({"job": "j", "node": "a", "result": "done"}), "ladle.outcomes", "outcome.a.done"),
    (Report({"node": "a", "interval_s": 2.0}), "ladle.outcomes", "outcome.a.report"),
    (RecordDeadLetter(reason="odd", queue="node.a", body_bytes=3), "ladle.dead", "dead.node.a"),
    (Generate(ASSIGNMENT), "ladle.nodes", "node.a"),
    (GenerateShared(ASSIGNMENT.to_wire()), "ladle.nodes", "shared"),
    (Retrain(), "ladle.train", "train.retrain"),
]
OPTIONAL = {"for_s"}  # an older Ladle does not send it
NAMES = [type(call).__name__ for call, _, _ in CALLS]


def over_the_wire(body):
    return json.loads(json.dumps(body))


@pytest.mark.parametrize(("call", "exchange", "key"), CALLS, ids=NAMES)
def test_a_call_goes_where_its_reader_listens_and_arrives_as_it_was_sent(call, exchange, key):
    post = call.post()
    assert (post.exchange, post.routing_key, post.task) == (exchange, key, call.TASK)
    assert type(call).read(over_the_wire(post.body)) == call
    assert type(call).key_of(over_the_wire(post.body)) == key


def test_every_call_is_tried_here_and_the_planner_takes_those_of_its_name():
    tried = {type(call) for call, _, _ in CALLS}
    defined = {
        value for value in vars(calls).values() if isinstance(value, type) and issubclass(value, Call) and value.__doc__
    }
    assert tried == {call for call in defined if "TASK" in vars(call)}
    assert set(TO_PLANNER) == {call.TASK for call in tried if call.TASK.startswith("planner.")}


@pytest.mark.parametrize("call", [call for call, _, _ in CALLS if type(call) not in (Retrain, RecordDeadLetter)])
def test_a_missing_argument_is_an_error_of_its_name(call):
    for name in call.wire().keys() - OPTIONAL:
        with pytest.raises(KeyError, match=name):
            type(call).read({key: value for key, value in call.wire().items() if key != name})


def test_an_assignment_comes_alone():
    with pytest.raises(TypeError, match="'surprise'"):
        Generate.read({"assignment": ASSIGNMENT.to_wire(), "surprise": 1})
    with pytest.raises(ValidationError):
        Generate.read({"assignment": {**ASSIGNMENT.to_wire(), "attempt": 0}})


@pytest.mark.parametrize("body", [{}, {"outcome": "done"}, {"outcome": None}, {"report": []}])
def test_what_is_no_answer_of_a_node_has_no_key(body):
    assert Record.key_of(body) is None
    assert Report.key_of(body) is None


@pytest.mark.parametrize("priority", [None, True, "high", 3, -1, 1.0, [], math.nan])
def test_a_priority_that_is_none_is_refused(priority):
    with pytest.raises(ValueError, match="is none of 0, 1, 2"):
        SetPriority.read({"client": "c", "jobs": ["j"], "priority": priority})


def test_a_drain_of_an_older_ladle_has_no_end():
    assert Drain.read({"node": "a", "on": True}) == Drain("a", True)


@pytest.mark.parametrize("for_s", [True, "2h", 0, -1, math.inf, math.nan, 1e11, [], 10**400])
def test_a_time_to_drain_that_is_none_is_refused(for_s):
    with pytest.raises(ValueError, match="for_s: "):
        Drain.read({"node": "a", "on": True, "for_s": for_s})


@pytest.mark.parametrize("size", [None, "x", [], -1, math.inf, 1.5, 2**31, 10**400])
def test_a_dead_letter_of_no_size_is_read_as_empty(size):
    assert RecordDeadLetter.read({"reason": "r", "queue": "q", "body_bytes": size}).body_bytes == 0


@pytest.mark.parametrize("pair", [["j", math.inf], ["j", "1"], [1, 1], [["j"], 1], ["j"], 1])
def test_attempts_that_are_none_are_refused(pair):
    with pytest.raises((TypeError, ValueError)):
        Withdraw.read({"withdraw": [pair]})


def test_a_dead_letter_is_read_whatever_it_holds():
    letter = RecordDeadLetter.read({"queue": None, "reason": 7, "headers": "x", "body": None})
    assert letter == RecordDeadLetter(reason="7", queue="")
    long = RecordDeadLetter(reason="odd", queue="q" * 300).post()
    assert len(long.routing_key) == calls.MAX_KEY_BYTES


def test_what_must_not_be_lost_comes_back_when_nobody_takes_it_and_the_rest_may_expire():
    by_name = {type(call).__name__: call.post() for call, _, _ in CALLS}
    returned = {name for name, post in by_name.items() if post.mandatory}
    to_planner = {"Submit", "Cancel", "SetPriority", "Reconcile", "Drain", "Remove"}
    assert returned == to_planner | {"Generate", "GenerateShared"}
    assert {name for name, post in by_name.items() if post.expires_s is not None} == {"Reconcile", "Report"}
    assert {name for name, post in by_name.items() if not post.durable} == {"Report"}
    assert by_name["Report"].expires_s == 20.0


def test_events_reach_a_client_from_the_planner_and_from_a_node():
    event = Event(job="j", kind=EventKind.STEP, node="a", step=1, image_steps=8)
    told, progress = Tell("c", EventKind.STEP, [event, event]).post(), Progress("a", "c", event).post()
    assert (told.routing_key, progress.routing_key) == ("job.c.step", "progress.a.c")
    assert Tell.read(over_the_wire(told.body)) == [event, event]
    assert Tell.read(over_the_wire(progress.body)) == [event]
    assert (told.task, told.durable) == (None, False)


def test_a_node_reads_the_attempts_it_is_to_drop():
    post = Withdraw("a", [("j", 1), ("k", 2)]).post()
    assert (post.exchange, post.routing_key) == ("ladle.control", "node.a")
    assert Withdraw.read(over_the_wire(post.body)) == [("j", 1), ("k", 2)]
    assert post.expires_s is not None


@pytest.mark.parametrize(("job", "number"), [("job-1", 1), ("order/7", 12)])
def test_a_task_id_names_its_attempt(job, number):
    assert attempt_of(task_id_of(job, number)) == (job, number)


@pytest.mark.parametrize("task_id", ["", "job-1", "job-1/", "job-1/x", "job-1/-1", "job-1/1234567890", "job-1/²"])
def test_any_other_task_id_names_no_attempt(task_id):
    assert attempt_of(task_id) == ("", 0)


def test_only_an_assignment_names_an_attempt_in_its_headers():
    assert attempt_in({"task": Generate.TASK, "id": "j/3"}) == ("j", 3)
    assert attempt_in({"task": Submit.TASK, "id": "j/3"}) == ("", 0)
    assert attempt_in({}) == ("", 0)


def test_the_jobs_that_a_call_names():
    assert jobs_named_in(Submit([SUBMISSION]).wire()) == ["j"]
    assert jobs_named_in(Cancel(["j", "k"]).wire()) == ["j", "k"]
    assert jobs_named_in(Record({"job": "j"}).wire()) == ["j"]
    assert jobs_named_in({"jobs": [None, 3, {"job": 4}], "outcome": 1}) == []


def literals(path):
    """String literals of a module that are code: neither docstrings nor parts of f-strings."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Expr) for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value, node.lineno


def test_task_names_stand_in_this_module_only():
    tasks = {type(call).TASK for call, _, _ in CALLS}
    found = {
        f"{path.relative_to(ROOT)}:{line} {text}"
        for package in ("broker_config", "planner", "workers", "rl_agent", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if path != Path(calls.__file__)
        for text, line in literals(path)
        if text in tasks
    }
    assert found == set()


def test_a_body_is_read_and_written_in_this_module_only():
    keys = {"assignment", "withdraw", "events", "outcome"}
    keys_of_calls = {name for call, _, _ in CALLS if not isinstance(call, RecordDeadLetter) for name in call.wire()}
    assert keys - {"withdraw", "events"} < keys_of_calls
    bodies = {"body", "call", "kwargs", "letter", "message"}
    found = set()
    for package in ("broker_config", "planner", "workers", "rl_agent", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            if path == Path(calls.__file__):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                is_read = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
                if is_read and node.value.id in bodies and isinstance(node.slice, ast.Constant):
                    if node.slice.value in keys_of_calls | keys:
                        found.add(f"{path.relative_to(ROOT)}:{node.lineno} {node.value.id}[{node.slice.value!r}]")
                elif isinstance(node, ast.Dict) and len(node.keys) == 1 and isinstance(node.keys[0], ast.Constant):
                    if node.keys[0].value in keys:
                        found.add(f"{path.relative_to(ROOT)}:{node.lineno} {{{node.keys[0].value!r}: ...}}")
    assert found == set()
