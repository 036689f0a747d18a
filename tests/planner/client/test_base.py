"""What the synchronous and the asyncio API have in common."""

from __future__ import annotations

import inspect

import pytest

from broker_config.errors import RequestRefusedError
from broker_config.messages import Event, EventKind, Failure, JobState, Priority
from broker_config.settings import Settings
from planner import AsyncClient, AsyncJobHandle, Client, JobHandle
from planner.client.base import moved
from planner.errors import JobNotWaitingError, JobUnknownError

PAIRS = [(Client, AsyncClient), (JobHandle, AsyncJobHandle)]
each_handle = pytest.mark.parametrize("handle_class", [JobHandle, AsyncJobHandle])


def event(kind, **fields):
    return Event(job="job-1", kind=kind, **fields)


def parameters(function):
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("sync", "asyncio"), PAIRS)
def test_both_have_the_same_verbs_with_the_same_parameters(sync, asyncio):
    verbs = [name for name in dir(sync) if not name.startswith("_")]
    assert verbs == [name for name in dir(asyncio) if not name.startswith("_")]
    for verb in verbs:
        assert parameters(getattr(sync, verb)) == parameters(getattr(asyncio, verb)), verb
    assert parameters(sync) == parameters(asyncio)


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
def test_single_settings_are_changed(client_class, tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    client = client_class(settings, default_model="other")
    assert (client.settings.default_model, client.settings.data_dir) == ("other", tmp_path)
    assert client_class(settings).settings is settings


@each_handle
def test_a_handle_shows_its_job_and_what_was_heard_last(handle_class):
    handle = handle_class("job-1", session=None)
    assert repr(handle) == f"<{handle_class.__name__} job-1 submitted>"
    handle.deliver(event(EventKind.PLACED))
    assert repr(handle) == f"<{handle_class.__name__} job-1 placed>"


@each_handle
def test_what_comes_after_the_end_is_late_and_dropped(handle_class):
    handle = handle_class("job-1", session=None)
    for kind in (EventKind.PLACED, EventKind.CANCELLED, EventKind.STEP, EventKind.DONE):
        handle.deliver(event(kind))
    assert repr(handle).endswith("job-1 cancelled>")


@each_handle
def test_an_answer_is_a_status_or_an_end_that_came_after_the_question(handle_class):
    handle = handle_class("job-1", session=None)
    handle.deliver(event(EventKind.STATUS, state=JobState.WAITING))
    assert handle._answer(0).state is JobState.WAITING
    assert handle._answer(1) is None
    handle.deliver(event(EventKind.PLACED))
    assert handle._answer(1) is None
    handle.deliver(event(EventKind.DONE))
    assert handle._answer(1).kind is EventKind.DONE


@each_handle
def test_the_answer_to_a_wish_is_not_that_to_another_wish(handle_class):
    handle = handle_class("job-1", session=None)
    handle.deliver(event(EventKind.PRIORITY, priority=Priority.HIGH))
    assert handle._answer_about(Priority.HIGH, 0) is not None
    assert handle._answer_about(Priority.HIGH, 1) is None
    handle.deliver(event(EventKind.PRIORITY, priority=Priority.LOW))
    assert handle._answer_about(Priority.HIGH, 1) is None
    handle.deliver(event(EventKind.PRIORITY, priority=Priority.LOW, reason="it is PLACED on a"))
    assert handle._answer_about(Priority.HIGH, 1).reason == "it is PLACED on a"


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (
            event("priority", reason="it is PLACED on a"),
            JobNotWaitingError,
            "job-1 keeps its priority: it is PLACED on a",
        ),
        (event("done", state=JobState.DONE), JobNotWaitingError, "it is DONE"),
        (event("refused"), JobNotWaitingError, "it is REFUSED"),
        (event("unknown", reason="no such job"), JobUnknownError, "no such job"),
        (
            event("priority", reason="no", failure=Failure(kind="bad_request", message="ask the operator")),
            RequestRefusedError,
            "ask the operator",
        ),
    ],
)
def test_a_priority_that_stays_is_an_error_that_says_why(answer, error, sentence):
    with pytest.raises(error, match=sentence):
        moved(answer)
