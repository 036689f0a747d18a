"""The asyncio Python API, with the verbs of `Client`: `await (await client.submit(prompt="...")).result()`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Self, Unpack

from broker_config.messages import TERMINAL_EVENTS, Event, EventKind
from broker_config.settings import Settings, load_settings
from planner.client.client import ANSWER_TIMEOUT_S
from planner.client.handles import Handles
from planner.client.request import JobFields, build_submission, check_job_id
from planner.client.result import Result, result_of
from planner.client.session import Session
from planner.errors import PlannerSilentError, ResultTimeoutError


class AsyncJobHandle:
    """One submitted job, for the event loop it was submitted in. Any number of tasks may wait on it."""

    def __init__(self, job: str, session: Session) -> None:
        self.job = job
        self._session = session
        self._events: list[Event] = []
        self._over: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._next: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<AsyncJobHandle {self.job} {self._last()}>"

    async def result(self, timeout: float | None = None) -> Result:  # the verbs of `JobHandle`
        """Wait for the images; see `JobHandle.result`."""
        try:
            async with asyncio.timeout(timeout):
                over = await asyncio.shield(self._over)
        except TimeoutError:
            raise ResultTimeoutError(self.job, timeout or 0.0, self._last()) from None
        return result_of(over)

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
        if self._over.done():
            return self._over.result()
        seen = len(self._events)
        for confirmed in self._session.ask([self.job]):
            await asyncio.wrap_future(confirmed)
        kinds = {EventKind.STATUS} | TERMINAL_EVENTS
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for event in self._events[seen:]:
                        if event.kind in kinds:
                            return event
                    seen = len(self._events)
                    await self._wait_for_next()
        except TimeoutError:
            raise PlannerSilentError(timeout) from None

    async def cancel(self) -> None:
        """Ask for an end; see `JobHandle.cancel`."""
        await asyncio.wrap_future(self._session.cancel(self.job))

    def deliver(self, event: Event) -> None:
        """Take an event; runs in the event loop."""
        if self._over.done():
            return
        self._events.append(event)
        if event.kind in TERMINAL_EVENTS:
            self._over.set_result(event)
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def _wait_for_next(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    def _last(self) -> str:
        return str(self._events[-1].kind) if self._events else "submitted"


class AsyncClient:
    """Submits jobs from one event loop and hears of them; two threads serve any number of awaits.

    Args:
        settings: default: read from `LADLE_*` variables.
        **changes: single settings to change, such as `broker_url`.
    """

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        settings = settings or load_settings()
        self.settings = settings.with_changes(**changes) if changes else settings
        self._session = Session(self.settings, self._on_events)
        self._handles = Handles(lambda job: AsyncJobHandle(job, self._session))
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
        submissions = [build_submission(self.settings, self._session.client, **fields) for fields in requests]
        await self._start()
        handles, fresh = self._handles.submit(submissions)
        confirmed = [asyncio.wrap_future(self._session.submit(submission)) for submission in submissions]
        results = await asyncio.gather(*confirmed, return_exceptions=True)
        for submission, result in zip(submissions, results, strict=True):
            if isinstance(result, BaseException) and submission.job in fresh:
                self._handles.forget(submission.job)
                self._session.heard(submission.job, is_over=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return handles

    async def handle(self, job: str) -> AsyncJobHandle:
        """Return a handle for a job submitted earlier, perhaps by another process; see `Client.handle`."""
        check_job_id(job)
        await self._start()
        handle = self._handles.ask(job)
        await asyncio.gather(*(asyncio.wrap_future(confirmed) for confirmed in self._session.ask([job])))
        return handle

    async def drain(self, node: str, *, on: bool = True) -> None:
        """Stop giving jobs to `node`; see `Client.drain`."""
        await self._start()
        await asyncio.wrap_future(self._session.drain(node, on=on))

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._session.is_started:
            await asyncio.to_thread(self._session.start)

    def _on_events(self, events: list[Event]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, events)

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            hearing, is_open = self._handles.hearing(event)
            self._session.heard(event.job, is_over=not is_open)
            for handle in hearing:
                handle.deliver(event)
