"""The synchronous Python API: `with Client() as client: client.submit(prompt="a red heart").result()`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any, Self, Unpack

from broker_config.messages import TERMINAL_EVENTS, Event, EventKind
from broker_config.settings import Settings, load_settings
from planner.client.handles import Handles
from planner.client.request import JobFields, build_submission, check_job_id
from planner.client.result import Result, result_of
from planner.client.session import Session
from planner.errors import PlannerSilentError, ResultTimeoutError

ANSWER_TIMEOUT_S = 10.0


class JobHandle:
    """One submitted job. Any number of threads may wait on it."""

    def __init__(self, job: str, session: Session) -> None:
        self.job = job
        self._session = session
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._over: Event | None = None

    def __repr__(self) -> str:
        return f"<JobHandle {self.job} {self._last()}>"

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the images.

        Args:
            timeout: seconds to wait; None for ever.

        Raises:
            ResultTimeoutError: they did not come in time; the job goes on.
            JobFailedError: it ended without images (refused, cancelled, expired, failed), or no planner knows it.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._over is not None, timeout):
                raise ResultTimeoutError(self.job, timeout or 0.0, self._last())
        assert self._over is not None  # what the wait was for
        return result_of(self._over)

    def events(self) -> Iterator[Event]:
        """Yield every event from the first on (accepted, placed, started, step, ... and the terminal one)."""
        seen = 0
        while True:
            with self._changed:
                while len(self._events) == seen:
                    self._changed.wait()
                fresh = self._events[seen:]
            seen += len(fresh)
            yield from fresh
            if fresh[-1].kind in TERMINAL_EVENTS:
                return

    def status(self, timeout: float = ANSWER_TIMEOUT_S) -> Event:
        """Ask the planner where the job is.

        Raises:
            PlannerSilentError: no planner answered within `timeout` seconds.
        """
        if self._over is not None:
            return self._over
        seen = len(self._events)
        for confirmed in self._session.ask([self.job]):
            confirmed.result()
        with self._changed:
            if not self._changed.wait_for(lambda: self._answer(seen) is not None, timeout):
                raise PlannerSilentError(timeout)
            answer = self._answer(seen)
        assert answer is not None  # what the wait was for
        return answer

    def cancel(self) -> None:
        """Ask for an end; `result` raises `JobCancelledError` once the planner has seen to it.

        A job that is done already stays done.
        """
        self._session.cancel(self.job).result()

    def deliver(self, event: Event) -> None:
        """Take an event from the listening thread; events after the terminal one are late and dropped."""
        with self._changed:
            if self._over is None:
                self._events.append(event)
                if event.kind in TERMINAL_EVENTS:
                    self._over = event
                self._changed.notify_all()

    def _answer(self, seen: int) -> Event | None:
        kinds = {EventKind.STATUS} | TERMINAL_EVENTS
        return next((event for event in self._events[seen:] if event.kind in kinds), None)

    def _last(self) -> str:
        return str(self._events[-1].kind) if self._events else "submitted"


class Client:
    """Submits jobs and hears of them. Needs the broker only; safe to share between threads.

    Args:
        settings: default: read from `LADLE_*` variables.
        **changes: single settings to change, such as `broker_url`.
    """

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        settings = settings or load_settings()
        self.settings = settings.with_changes(**changes) if changes else settings
        self._session = Session(self.settings, self._on_events)
        self._handles = Handles(lambda job: JobHandle(job, self._session))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. Jobs go on; their results can be had later with `handle(job)`."""
        self._session.close()

    def submit(self, **fields: Unpack[JobFields]) -> JobHandle:
        """Submit one job and return when the broker has it durably.

        Args:
            **fields: see `JobFields`.

        Raises:
            RequestRefusedError: a field is wrong, or an open job of this client has the idempotency_key and another
                request; nothing was queued.
            BrokerUnavailableError: the broker did not confirm; try again, with an idempotency_key to be safe.
        """
        return self.submit_many([fields])[0]

    def submit_many(self, requests: Iterable[JobFields]) -> list[JobHandle]:
        """Submit many jobs at once, all or (if one is refused here) none; see `submit`."""
        submissions = [build_submission(self.settings, self._session.client, **fields) for fields in requests]
        self._session.start()
        handles, fresh = self._handles.submit(submissions)
        confirmed = [self._session.submit(submission) for submission in submissions]
        wait(confirmed)
        for submission, future in zip(submissions, confirmed, strict=True):
            if future.exception() is not None and submission.job in fresh:
                self._handles.forget(submission.job)
                self._session.heard(submission.job, is_over=True)
        _result_of_all(confirmed)
        return handles

    def handle(self, job: str) -> JobHandle:
        """Return a handle for a job submitted earlier, perhaps by another process.

        Raises:
            RequestRefusedError: no job can have such an id; nothing was asked.
        """
        check_job_id(job)
        self._session.start()
        handle = self._handles.ask(job)
        _result_of_all(self._session.ask([job]))
        return handle

    def drain(self, node: str, *, on: bool = True) -> None:
        """Stop giving jobs to `node` (what it runs it finishes), or start again with `on=False`."""
        self._session.start()
        self._session.drain(node, on=on).result()

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            hearing, is_open = self._handles.hearing(event)
            self._session.heard(event.job, is_over=not is_open)
            for handle in hearing:
                handle.deliver(event)


def _result_of_all(futures: list[Future[None]]) -> None:
    wait(futures)
    for future in futures:
        future.result()
