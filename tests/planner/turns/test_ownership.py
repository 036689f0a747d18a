"""Whose jobs a sender may hear of, and which priority it may give. What planners make of it is in test_intake."""

from __future__ import annotations

import pytest
from image_requests import an_image_request

from broker_config.errors import RequestRefusedError
from broker_config.messages import Priority, Submission
from broker_config.settings import Settings
from planner.state.jobs import LiveJob
from planner.turns.ownership import check_priority, check_submission, may_know

SETTINGS = Settings(_env_file=None, high_priority="ann")


def submission(job="ann.1", client="ann.0f", priority=Priority.NORMAL):
    return Submission(job=job, client=client, priority=priority, request=an_image_request())


@pytest.mark.parametrize(("owner", "may"), [("ann", True), (None, True), ("bob", False), ("an", False)])
def test_a_job_is_its_owners_and_of_those_with_all_rights_while_it_is_open_and_when_it_has_ended(owner, may):
    assert may_know(owner, LiveJob.of(submission(), 0.0)) is may
    assert may_know(owner, None, {"client": "ann.0f"}) is may


def test_a_gateway_may_know_the_jobs_of_all_its_keys():
    live = LiveJob.of(submission(client="http.ann.0f"), 0.0, {"http"})
    assert live.owner == "http.ann"
    assert may_know("http", live)
    assert not may_know("http.ann", live)
    assert not may_know("ann", live)
    assert may_know("http", None, {"client": "http.ann.0f"})


def test_what_is_no_job_tells_nothing():
    assert may_know("bob", None)


@pytest.mark.parametrize("owner", ["ann", None])
def test_who_is_named_gives_priority_high(owner):
    check_priority(SETTINGS, Priority.HIGH, owner)
    check_submission(SETTINGS, submission(priority=Priority.HIGH), owner)


def test_others_give_the_classes_below_and_are_told_who_may_more():
    for priority in (Priority.NORMAL, Priority.LOW):
        check_priority(SETTINGS, priority, "bob")
    with pytest.raises(RequestRefusedError, match="priority: bob may give no job priority high: LADLE_HIGH_PRIORITY"):
        check_priority(SETTINGS, Priority.HIGH, "bob")


def test_an_id_that_others_may_want_is_refused():
    with pytest.raises(RequestRefusedError, match=r"'ann\.1' is no key of bob"):
        check_submission(SETTINGS, submission(), "bob")
