"""How requests become messages."""

from __future__ import annotations

from concurrent.futures import Future

from broker_config.consumer import BODY_LIMIT_BYTES
from broker_config.messages import ImageRequest, Submission
from planner.session import ASK_AFTER_SILENCE_S, SUBMISSIONS_PER_MESSAGE, _grouped, _posts, _Request


def submission(number, image=None):
    request = ImageRequest(model="m", prompt="x", width_px=8, height_px=8, seed=number, image=image)
    return Submission(job=f"job-{number}", client="c", request=request)


def test_few_messages_carry_many_submissions_in_order():
    groups = list(_grouped([submission(n) for n in range(250)]))
    assert [len(group) for group in groups] == [SUBMISSIONS_PER_MESSAGE, SUBMISSIONS_PER_MESSAGE, 50]
    assert [s.job for group in groups for s in group] == [f"job-{n}" for n in range(250)]


def test_no_group_of_pictures_outgrows_what_a_consumer_reads():
    groups = list(_grouped([submission(n, "A" * 2**20) for n in range(30)]))
    assert sum(len(group) for group in groups) == 30
    assert all(sum(len(s.model_dump_json()) for s in group) < BODY_LIMIT_BYTES for group in groups)


def test_nothing_makes_no_message():
    assert list(_grouped([])) == []


def test_only_questions_grow_too_old_to_be_answered_and_not_before_they_are_asked_again():
    payloads = {
        "submit": submission(1),
        "cancel": "job-1",
        "reconcile": {"client": "c", "jobs": ["job-1"]},
        "drain": {},
    }
    posts = _posts([_Request(kind, payload, Future()) for kind, payload in payloads.items()])
    expiries = {post.routing_key: post.expires_s for post in posts}
    assert expiries.pop("reconcile") > ASK_AFTER_SILENCE_S
    assert expiries == {"submit": None, "cancel": None, "drain": None}
