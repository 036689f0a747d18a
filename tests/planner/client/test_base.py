"""What the synchronous and the asyncio API have in common."""

from __future__ import annotations

import inspect

import pytest

from broker_config.messages import Event, EventKind, JobState
from broker_config.settings import Settings
from planner import AsyncClient, AsyncJobHandle, Client, JobHandle

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
