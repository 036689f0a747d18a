"""A job as it is told over HTTP."""

from __future__ import annotations

import pytest

from broker_config.messages import Event, EventKind, JobState, StoredImage
from planner.errors import JobUnknownError
from planner.gateway.keys import Owner
from planner.gateway.told_jobs import event_id, kind_of, known, told

ANN = Owner(name="ann", sha256="ab")


def test_images_are_told_as_urls_and_never_as_bytes():
    image = StoredImage.inline(b"png", 5)
    answer = told(ANN, Event(job="http.ann.1", kind=EventKind.DONE, state=JobState.DONE, images=(image,)), "http://h")
    (named,) = answer["images"]
    assert named["seed"] == 5
    assert named["url"].startswith("http://h/images/http.ann.1/0.png?")
    assert "signature=" in named["url"]
    assert image.data not in str(answer)


def test_what_is_not_known_is_left_away():
    answer = told(ANN, Event(job="http.ann.1", kind=EventKind.WAITING, state=JobState.WAITING))
    assert answer == {"job": "http.ann.1", "kind": "waiting", "state": "WAITING", "attempt": 0, "warnings": []}


def test_a_job_that_the_planner_does_not_know_is_an_error():
    with pytest.raises(JobUnknownError):
        known(Event(job="http.ann.1", kind=EventKind.UNKNOWN))


def test_an_event_is_known_again_by_its_id():
    step = Event(job="http.ann.1", kind=EventKind.STEP, attempt=2, step=7)
    assert event_id(step) == "step.2.7"
    assert kind_of(event_id(step)) == EventKind.STEP
    assert kind_of("") == ""
