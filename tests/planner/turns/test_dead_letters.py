"""Dead letters as text and as messages again: what is foreign stays harmless."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_config.calls import RecordDeadLetter
from broker_config.foreign_text import visible
from broker_config.topology import DEAD_REQUEST
from planner.errors import DeadLetterError
from planner.turns.dead_letters import body_text, jobs_of, letter_of_outcome, letter_row, post_of, queue_of


def row(body=b"[[], {}, {}]", **changes):
    letter = {
        "reason": "because",
        "queue": "planner",
        "routing_key": "submit",
        "headers": {"task": "planner.submit", "id": "1", "x-death": [{"count": 1}]},
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "body": base64.b64encode(body).decode(),
        "body_bytes": len(body),
        **changes,
    }
    return {"id": 7, **letter_row(RecordDeadLetter.read(letter), 0.0)}


def call(**kwargs):
    return json.dumps([[], kwargs, {}]).encode()


def test_it_is_published_as_it_was_but_for_what_the_broker_wrote_on_it():
    post = post_of(row())
    assert (post.exchange, post.routing_key, post.mandatory) == ("ladle.jobs", "submit", True)
    assert post.body == b"[[], {}, {}]"
    assert post.headers == {"task": "planner.submit", "id": "1"}
    assert post.content_type == ("application/json", "utf-8")


@pytest.mark.parametrize(
    ("queue", "routing_key", "came_from", "exchange"),
    [
        ("outcomes", "outcome.a.done", "outcomes", "ladle.outcomes"),
        ("node.a", "node.a", "node.a", "ladle.nodes"),
        ("dead", "node.a", "node.a", "ladle.nodes"),  # the broker dead-lettered it, under its own key
        ("dead", "submit", "planner", "ladle.jobs"),
        ("dead", "outcome.a.done", "outcomes", "ladle.outcomes"),
    ],
)
def test_it_goes_to_the_queue_it_came_from(queue, routing_key, came_from, exchange):
    letter = row(queue=queue, routing_key=routing_key)
    assert queue_of(letter) == came_from
    assert post_of(letter).exchange == exchange


def test_a_request_that_the_broker_dead_lettered_goes_under_its_first_key_again():
    deaths = [{"queue": "planner", "routing-keys": ["cancel", "submit"]}]
    letter = row(queue="dead", routing_key=DEAD_REQUEST, headers={"task": "planner.cancel", "x-death": deaths})
    assert queue_of(letter) == "planner"
    assert (post_of(letter).exchange, post_of(letter).routing_key) == ("ladle.jobs", "cancel")


def test_what_a_node_wrote_into_a_letter_leads_to_its_own_queue_only():
    forged = post_of(row(queue="node.evil", routing_key="outcome.good.done"))
    assert (forged.exchange, forged.routing_key) == ("ladle.nodes", "node.evil")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"routing_key": None}, "routing key"),
        ({"queue": "dead", "routing_key": DEAD_REQUEST, "headers": {"x-death": "none"}}, "routing key"),
        ({"body_bytes": 10**6}, "only the beginning"),
        ({"headers": {"cut": "{..."}}, "only the beginning"),
        ({"queue": "control.a"}, "control.a"),
        ({"queue": "admin", "routing_key": "admin.drain"}, "'admin'"),  # an order is given again, by `ladle drain`
        ({"queue": "dead", "routing_key": "admin.drain"}, "'admin'"),
        ({"queue": "dead", "routing_key": "dead.node.a"}, "'dead'"),
    ],
)
def test_one_without_its_original_is_not_requeued(changes, reason):
    letter = row(**changes) if changes.get("routing_key", "") is not None else {**row(), "routing_key": None}
    with pytest.raises(DeadLetterError, match=reason):
        post_of(letter)


@pytest.mark.parametrize(
    ("letter", "jobs"),
    [
        (row(call(jobs=[{"job": "one"}, {"job": "two"}])), ["one", "two"]),
        (row(call(jobs=["one"])), ["one"]),
        (row(call(outcome={"job": "one"})), ["one"]),
        (row(headers={"task": "workers.generate", "id": "order/7/2"}), ["order/7"]),
        (row(call(jobs=[None, {"job": 3}, {}])), []),
        (row(call(jobs={"a": 1})), ["a"]),
        (row(call(jobs=3)), []),
        (row(b"[" * 100_000), []),
        (row(b"\x80\x04."), []),
        (row(headers={"task": ["x"], "id": None}), []),
        (row(headers=["no", "table"]), []),
    ],
)
def test_the_jobs_it_is_about_are_found_if_it_says_so(letter, jobs):
    assert jobs_of(letter) == jobs


def test_a_terminal_obeys_nothing_in_it():
    assert body_text(row(b"a\x1b[2J\x07b\nc")) == "a\\x1b[2J\\x07b\nc"
    assert body_text(row(b"\x80\x04\x95")) == r"b'\x80\x04\x95'"
    assert visible("right-to-left \u202e") == "right-to-left \\u202e"
    assert body_text(row(b"x" * 10, body_bytes=99)).endswith("(99 bytes in all)")


@given(st.binary(max_size=300), st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=9), max_size=3))
def test_whatever_it_holds_it_can_be_shown(body, headers):
    letter = row(body, headers=headers)
    assert isinstance(jobs_of(letter), list)
    assert all(c.isprintable() or c == "\n" for c in body_text(letter))


def test_an_outcome_out_of_a_batch_is_a_whole_message_again():
    letter = {"id": 1, **letter_row(letter_of_outcome({"job": "j", "node": "a", "result": "done"}, "odd"), 0.0)}
    post = post_of(letter)
    assert (post.exchange, post.routing_key) == ("ladle.outcomes", "outcome.a.done")
    assert json.loads(post.body) == [[], {"outcome": {"job": "j", "node": "a", "result": "done"}}, {}]
    assert jobs_of(letter) == ["j"]
