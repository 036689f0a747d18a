"""How requests become messages."""

from __future__ import annotations

import re
from concurrent.futures import Future

import pytest
from image_requests import an_image_request
from ladle_site import wait_until

from broker_config.calls import Cancel, Drain, Reconcile, SetPriority
from broker_config.consumer import BODY_LIMIT_BYTES
from broker_config.messages import Submission
from broker_config.publisher import Post, Publisher
from broker_config.settings import Settings
from broker_config.topology import EVENTS, progress_key
from planner.client.session import (
    ASK_AFTER_SILENCE_S,
    MAX_SUBMISSIONS_PER_MESSAGE,
    Session,
    _grouped,
    _posts,
    _Request,
    client_name,
)


def submission(number, image=None):
    request = an_image_request(seed=number, image=image)
    return Submission(job=f"job-{number}", client="c", request=request)


def test_few_messages_carry_many_submissions_in_order():
    groups = list(_grouped([submission(n) for n in range(250)]))
    assert [len(group) for group in groups] == [MAX_SUBMISSIONS_PER_MESSAGE, MAX_SUBMISSIONS_PER_MESSAGE, 50]
    assert [s.job for group in groups for s in group] == [f"job-{n}" for n in range(250)]


def test_no_group_of_pictures_outgrows_what_a_consumer_reads():
    groups = list(_grouped([submission(n, "A" * 2**20) for n in range(30)]))
    assert sum(len(group) for group in groups) == 30
    assert all(sum(len(s.model_dump_json()) for s in group) < BODY_LIMIT_BYTES for group in groups)


def test_nothing_makes_no_message():
    assert list(_grouped([])) == []


def test_only_questions_grow_too_old_to_be_answered_and_not_before_they_are_asked_again():
    later = [SetPriority("c", ["job-1"], 0), Reconcile("c", ["job-1"]), Drain("a", on=True)]
    asked = [submission(1), Cancel(["job-1"]), *later]
    posts = _posts([_Request(one, Future()) for one in asked])
    expiries = {post.routing_key: post.expires_s for post in posts}
    assert expiries.pop("reconcile") > ASK_AFTER_SILENCE_S
    assert expiries == {"submit": None, "cancel": None, "set_priority": None, "admin.drain": None}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("amqp://client.alice:p@h/v", r"alice\.[0-9a-f]{32}"),
        ("amqp://planner.main:p@h/v", "[0-9a-f]{32}"),
        ("amqp://guest:p@h/v", "[0-9a-f]{32}"),
        ("sqlite:////broker.db", "[0-9a-f]{32}"),
    ],
)
def test_a_client_is_called_as_its_user_may_be_and_otherwise_at_random(url, name):
    assert re.fullmatch(name, client_name(url))
    assert client_name(url) != client_name(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("amqp://client.web:p@h/v", r"web\.ann\.[0-9a-f]{32}"),
        ("amqp://planner.main:p@h/v", r"http\.ann\.[0-9a-f]{32}"),
        ("sqlite:////broker.db", r"http\.ann\.[0-9a-f]{32}"),
    ],
)
def test_a_gateways_client_names_the_key_that_it_asks_for(url, name):
    assert re.fullmatch(name, client_name(url, "ann"))


def test_of_a_node_a_client_believes_what_it_draws_and_nothing_else(embedded_url, tmp_path):
    heard = []
    session = Session(Settings(_env_file=None, data_dir=tmp_path, broker_url=embedded_url), heard.extend)
    publisher = Publisher(session._app, confirm_timeout_s=10)
    session.start()
    try:
        for key, kind, node in [
            (progress_key("e1", session.client), "done", "e1"),  # only the planner says so
            (progress_key("e1", session.client), "started", "e2"),  # in another's name
            (progress_key("e1", session.client), "step", "e1"),
            (f"job.{session.client}.done", "done", "e1"),
        ]:
            event = {"job": "j", "kind": kind, "node": node}
            publisher.publish([Post(exchange=EVENTS.name, routing_key=key, body={"events": [event]}, mandatory=True)])
        wait_until(lambda: len(heard) == 2, "two events")
    finally:
        session.close()
        publisher.close()
    assert [event.kind for event in heard] == ["step", "done"]
