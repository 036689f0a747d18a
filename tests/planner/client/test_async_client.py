"""Submitting and waiting in an event loop. Whole jobs are in tests/acceptance."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from broker_config.errors import BrokerUnavailableError
from broker_config.messages import Event, EventKind, JobState, Priority
from broker_config.settings import Settings
from planner import AsyncClient, AsyncJobHandle
from planner.errors import JobCancelledError, JobNotWaitingError, PlannerSilentError, ResultTimeoutError

AWAY = "amqp://guest:secret@127.0.0.1:9//"


def event(kind, **fields):
    return Event(job="job-1", kind=kind, **fields)


class Silence:
    """A session whose questions nobody hears."""

    def ask(self, jobs):
        return []


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path, confirm_timeout_s=2)


def test_without_a_broker_every_await_ends(settings):
    async def run():
        async with AsyncClient(settings, broker_url=AWAY) as client:
            submits = [client.submit(prompt="x") for _ in range(3)]
            results = await asyncio.gather(*submits, return_exceptions=True)
            results += await asyncio.gather(client.submit(prompt="again"), return_exceptions=True)
            return results, len(client._handles)

    results, handles = asyncio.run(asyncio.wait_for(run(), 60))
    assert {type(result) for result in results} == {BrokerUnavailableError}
    assert handles == 0


def test_any_number_of_tasks_wait_on_one_handle_and_each_hears_everything():
    async def kinds(handle):
        return [heard.kind async for heard in handle.events()]

    async def run():
        handle = AsyncJobHandle("job-1", session=None)
        waiting = [asyncio.create_task(kinds(handle)) for _ in range(3)]
        ending = asyncio.create_task(handle.result())
        for kind in (EventKind.ACCEPTED, EventKind.PLACED, EventKind.CANCELLED):
            await asyncio.sleep(0)
            handle.deliver(event(kind))
        heard = await asyncio.gather(*waiting, kinds(handle))
        with pytest.raises(JobCancelledError):
            await ending
        return heard

    assert asyncio.run(run()) == [["accepted", "placed", "cancelled"]] * 4


def test_a_result_that_does_not_come_in_time_says_what_was_heard_last():
    async def run():
        handle = AsyncJobHandle("job-1", session=None)
        handle.deliver(event(EventKind.PLACED))
        await handle.result(0.01)

    with pytest.raises(ResultTimeoutError, match="last heard: placed"):
        asyncio.run(run())


def test_a_status_is_the_answer_to_this_question_and_not_to_an_earlier_one():
    async def run():
        handle = AsyncJobHandle("job-1", session=Silence())
        handle.deliver(event(EventKind.STATUS, state=JobState.WAITING))
        asked = asyncio.create_task(handle.status())
        await asyncio.sleep(0)
        handle.deliver(event(EventKind.STATUS, state=JobState.RUNNING))
        return await asked

    assert asyncio.run(run()).state is JobState.RUNNING


def test_a_planner_that_does_not_answer_is_named():
    with pytest.raises(PlannerSilentError, match="ladle planner"):
        asyncio.run(AsyncJobHandle("job-1", session=Silence()).status(0.01))


def test_the_status_of_a_job_that_is_over_needs_no_question():
    handle = AsyncJobHandle("job-1", session=None)
    handle.deliver(event(EventKind.EXPIRED))
    assert asyncio.run(handle.status()).kind is EventKind.EXPIRED


class Wishes:
    """A session that takes wishes."""

    def set_priority(self, job, priority):
        confirmed = Future()
        confirmed.set_result(None)
        return confirmed


def test_a_new_priority_is_the_planners_answer():
    async def run():
        handle = AsyncJobHandle("job-1", session=Wishes())
        wished = asyncio.create_task(handle.set_priority("high"))
        await asyncio.sleep(0.01)
        handle.deliver(event(EventKind.PRIORITY, priority=Priority.HIGH))
        return await wished

    assert asyncio.run(run()).priority is Priority.HIGH


def test_a_planner_that_does_not_answer_a_wish_is_named_and_a_job_that_is_over_is_not_asked_for():
    with pytest.raises(PlannerSilentError):
        asyncio.run(AsyncJobHandle("job-1", session=Wishes()).set_priority("high", 0.01))
    over = AsyncJobHandle("job-1", session=None)
    over.deliver(event(EventKind.EXPIRED, state=JobState.EXPIRED))
    with pytest.raises(JobNotWaitingError, match="it is EXPIRED"):
        asyncio.run(over.set_priority("high"))
