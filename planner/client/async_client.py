"""The asyncio Python API, with the verbs of `Client`: `await (await client.submit(prompt="...")).result()`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self, Unpack

from broker_config.messages import TERMINAL_EVENTS, Event
from broker_config.settings import Settings
from planner.client.base import ANSWER_TIMEOUT_S, BaseClient, BaseJobHandle, moved
from planner.client.request import JobFields, PriorityName, check_job_id, priority_of
from planner.client.result import Result, result_of
from planner.client.session import Session
from planner.errors import PlannerSilentError, ResultTimeoutError


class AsyncJobHandle(BaseJobHandle):
    """One submitted job, for the event loop it was submitted in. Any number of tasks may wait on it.

    Attributes:
        job: its id.
    """

    def __init__(self, job: str, session: Session) -> None:
        super().__init__(job, session)
        self._next: asyncio.Future[None] | None = None

    async def result(self, timeout: float | None = None) -> Result:  # the verbs of `JobHandle`
        """Wait for the images; see `JobHandle.result`."""
        try:
            async with asyncio.timeout(timeout):
                while self._end is None:
                    await self._wait_for_next()
        except TimeoutError:
            raise ResultTimeoutError(self.job, timeout or 0.0, self._last) from None
        return result_of(self._end)

    async def events(self) -> AsyncIterator[Event]:
        """Yield every event from the first on, the terminal one last."""
        seen = 0
        while True:
            while len(self._events) == seen:
                await self._wait_for_next()
            fresh = self._events[seen:]
            seen += len(fresh)
            for event in fresh:
                yield event
            if fresh[-1].kind in TERMINAL_EVENTS:
                return

    async def status(self, timeout: float = ANSWER_TIMEOUT_S) -> Event:  # the verbs of `JobHandle`
        """Ask the planner where the job is; see `JobHandle.status`."""
        if self._end is not None:
            return self._end
        seen = len(self._events)
        for confirmed in self._session.ask([self.job]):
            await asyncio.wrap_future(confirmed)
        return await self._answered(lambda: self._answer(seen), timeout)

    async def cancel(self) -> None:
        """Ask the planner to cancel the job; see `JobHandle.cancel`."""
        await asyncio.wrap_future(self._session.cancel(self.job))

    async def set_priority(self, priority: PriorityName, timeout: float = ANSWER_TIMEOUT_S) -> Event:
        """Move the job, while it is WAITING, to another class; see `JobHandle.set_priority`."""
        wanted, seen = priority_of(priority), len(self._events)
        if self._end is not None:
            return moved(self._end)
        await asyncio.wrap_future(self._session.set_priority(self.job, wanted))
        return moved(await self._answered(lambda: self._answer_about(wanted, seen), timeout))

    def deliver(self, event: Event) -> None:
        """Take an event; runs in the event loop."""
        if self._take(event) and self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def _answered(self, answer: Callable[[], Event | None], timeout: float) -> Event:  # the verbs of `JobHandle`
        """Wait until there is an answer of the planner."""
        try:
            async with asyncio.timeout(timeout):
                while (event := answer()) is None:
                    await self._wait_for_next()
        except TimeoutError:
            raise PlannerSilentError(timeout) from None
        return event

    async def _wait_for_next(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)


class AsyncClient(BaseClient[AsyncJobHandle]):
    """Submits jobs from one event loop and hears of them; two threads serve any number of jobs.

    Args:
        settings: default: read from `LADLE_*` variables.
        key: name of the API key that a gateway asks for; empty: no gateway's.
        **changes: single settings to change, such as `broker_url`.
    """

    def __init__(self, settings: Settings | None = None, *, key: str = "", **changes: Any) -> None:
        super().__init__(settings, key=key, **changes)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. Jobs go on; their results can be had later with `handle(job)`."""
        await asyncio.to_thread(self._session.close)

    async def submit(self, **fields: Unpack[JobFields]) -> AsyncJobHandle:
        """Submit one job and return when the broker has it durably; see `Client.submit`."""
        return (await self.submit_many([fields]))[0]

    async def submit_many(self, requests: Iterable[JobFields]) -> list[AsyncJobHandle]:
        """Submit many jobs at once; see `Client.submit_many`."""
        submissions = self._checked(requests)
        await self._start()
        handles, fresh = self._handles.submit(submissions)
        confirmed = [asyncio.wrap_future(self._session.submit(submission)) for submission in submissions]
        self._settle(submissions, fresh, await asyncio.gather(*confirmed, return_exceptions=True))
        return handles

    async def handle(self, job: str) -> AsyncJobHandle:
        """Return a handle for a job submitted earlier, perhaps by another process; see `Client.handle`."""
        job = check_job_id(job, self._session.client)
        await self._start()
        handle = self._handles.ask(job)
        await asyncio.gather(*(asyncio.wrap_future(confirmed) for confirmed in self._session.ask([job])))
        return handle

    async def drain(self, node: str, *, on: bool = True, for_s: float | None = None) -> None:
        """Stop giving jobs to `node`; see `Client.drain`."""
        await self._start()
        await asyncio.wrap_future(self._session.drain(node, on=on, for_s=for_s))

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._session.is_started:
            await asyncio.to_thread(self._session.start)

    def _new_handle(self, job: str) -> AsyncJobHandle:
        return AsyncJobHandle(job, self._session)

    def _on_events(self, events: list[Event]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, events)
