"""Which handle hears what."""

from __future__ import annotations

import pytest
from image_requests import an_image_request

from broker_config.errors import RequestRefusedError
from broker_config.messages import Event, EventKind, Submission
from planner.client.handles import Handles


def submission(job="job-1", prompt="x"):
    return Submission(job=job, client="c", request=an_image_request(prompt=prompt))


def event(kind, job="job-1"):
    return Event(job=job, kind=kind)


@pytest.fixture
def handles():
    made = iter(range(100))
    return Handles(lambda job: f"{job} {next(made)}")


def test_the_same_request_under_one_key_has_one_handle(handles):
    (first, second), fresh = handles.submit([submission(), submission()])
    assert first == second
    assert fresh == {"job-1"}
    assert handles.submit([submission()]) == ([first], set())
    assert handles.ask("job-1") == first


@pytest.mark.parametrize("batch", [[submission(prompt="y")], [submission("new"), submission(prompt="y")]])
def test_another_request_under_an_open_key_is_refused_and_the_first_goes_on(handles, batch):
    (first,), _ = handles.submit([submission()])
    with pytest.raises(RequestRefusedError, match="idempotency_key"):
        handles.submit(batch)
    assert len(handles) == 1
    assert handles.hearing(event(EventKind.PLACED)) == ([first], True)


def test_one_key_cannot_mean_two_requests_of_a_batch(handles):
    with pytest.raises(RequestRefusedError, match="idempotency_key"):
        handles.submit([submission(), submission(prompt="y")])
    assert len(handles) == 0


def test_after_its_end_a_key_is_judged_by_the_planner_again(handles):
    (first,), _ = handles.submit([submission()])
    assert handles.hearing(event(EventKind.DONE)) == ([first], False)
    (second,), _ = handles.submit([submission(prompt="y")])
    assert handles.hearing(event(EventKind.REFUSED)) == ([second], False)


def test_a_refusal_is_not_heard_by_who_asked_after_the_job(handles):
    asked = handles.ask("job-1")
    (submitted,), _ = handles.submit([submission(prompt="y")])
    assert handles.hearing(event(EventKind.REFUSED)) == ([submitted], True)
    assert handles.hearing(event(EventKind.DONE)) == ([asked], False)
    assert handles.hearing(event(EventKind.DONE)) == ([], False)


def test_an_unknown_job_is_over(handles):
    asked = handles.ask("never-heard-of")
    assert handles.hearing(event(EventKind.UNKNOWN, "never-heard-of")) == ([asked], False)


def test_a_submission_that_did_not_leave_is_forgotten(handles):
    handles.submit([submission()])
    handles.forget("job-1")
    assert handles.hearing(event(EventKind.DONE)) == ([], False)
