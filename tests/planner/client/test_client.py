"""Handles, and clients whose broker is away. Whole jobs are in tests/acceptance."""

from __future__ import annotations

import asyncio

import pytest

from broker_config.errors import BrokerUnavailableError, RequestRefusedError
from broker_config.messages import Delays, Event, EventKind, Failure, StoredImage
from broker_config.settings import Settings
from planner import AsyncClient, Client
from planner.client.client import JobHandle
from planner.errors import (
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobNotWaitingError,
    JobRefusedError,
    JobUnknownError,
    PlannerSilentError,
    ResultTimeoutError,
)

AWAY = "amqp://guest:secret@127.0.0.1:9//"


def event(kind, **fields):
    return Event(job="job-1", kind=kind, **fields)


def done():
    image = StoredImage.inline(b"\x89PNG\r\n\x1a\nx", 7)
    delays = Delays(transfer_in_s=0, waiting_s=1, load_s=2, generation_s=3, transfer_out_s=0)
    return event(EventKind.DONE, images=(image,), delays=delays, node="a", attempt=2, model="m", placer="p")


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path, confirm_timeout_s=2)


@pytest.fixture
def handle():
    return JobHandle("job-1", session=None)


def test_a_result_carries_images_and_provenance(handle):
    handle.deliver(event(EventKind.PLACED))
    handle.deliver(done())
    result = handle.result(1)
    assert result.images[0].seed == 7
    assert (result.node, result.model, result.attempts) == ("a", "m", 2)
    assert result.delays.service_delay_s == 6
    assert [e.kind for e in handle.events()] == ["placed", "done"]


def test_events_after_the_last_are_dropped(handle):
    handle.deliver(done())
    handle.deliver(event(EventKind.CANCELLED))
    assert handle.result(1)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("failed", JobFailedError),
        ("refused", JobRefusedError),
        ("unknown", JobUnknownError),
        ("cancelled", JobCancelledError),
        ("expired", JobExpiredError),
    ],
)
def test_each_bad_end_has_its_error_with_the_reason(handle, kind, error):
    handle.deliver(event(kind, reason="because", failure=Failure(kind="internal", message="because")))
    with pytest.raises(error, match="because") as raised:
        handle.result(1)
    assert raised.value.kind == "internal"


def test_a_result_that_does_not_come_in_time_says_what_was_heard_last(handle):
    handle.deliver(event(EventKind.PLACED))
    with pytest.raises(ResultTimeoutError, match="last heard: placed"):
        handle.result(0.01)
    with pytest.raises(TimeoutError):
        handle.result(0.01)


def test_a_planner_that_does_not_answer_is_named(settings):
    with Client(settings) as client:
        handle = client.submit(prompt="x")
        with pytest.raises(PlannerSilentError, match="ladle planner"):
            handle.status(0.05)


def test_a_refused_request_needs_no_broker(settings):
    client = Client(settings, broker_url=AWAY)
    with pytest.raises(RequestRefusedError, match="prompt"):
        client.submit_many([{"prompt": "good"}, {"prompt": ""}])
    assert len(client._handles) == 0


def test_without_a_broker_the_sentence_names_it_without_its_password(settings):
    with Client(settings, broker_url=AWAY) as client:
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError) as error:
                client.submit(prompt="x")
        assert "127.0.0.1:9" in str(error.value)
        assert "LADLE_BROKER_URL" in str(error.value)
        assert "secret" not in str(error.value)
        assert len(client._handles) == 0


def test_a_client_may_be_opened_and_closed_without_use(settings):
    with Client(settings):
        pass

    async def run():
        async with AsyncClient(settings):
            pass

    asyncio.run(run())


def test_a_wish_for_a_priority_that_is_none_or_for_a_job_that_is_over_is_refused_at_once(handle):
    with pytest.raises(RequestRefusedError, match="'urgent' is none of high, normal, low"):
        handle.set_priority("urgent")
    handle.deliver(done())
    with pytest.raises(JobNotWaitingError):
        handle.set_priority("high")


def test_a_planner_that_does_not_answer_a_wish_is_named(settings):
    with Client(settings) as client:
        with pytest.raises(PlannerSilentError):
            client.submit(prompt="x").set_priority("high", 0.05)
