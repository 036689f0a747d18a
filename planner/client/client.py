"""The synchronous Python API: `with Client() as client: client.submit(prompt="a red heart").result()`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Self, Unpack

from broker_config.messages import TERMINAL_EVENTS, Event
from planner.client.base import ANSWER_TIMEOUT_S, BaseClient, BaseJobHandle, moved
from planner.client.request import JobFields, PriorityName, check_job_id, priority_of
from planner.client.result import Result, result_of
from planner.client.session import Session
from planner.errors import PlannerSilentError, ResultTimeoutError


class JobHandle(BaseJobHandle):
    """One submitted job. Any number of threads may wait on it.

    Attributes:
        job: its id.
    """

    def __init__(self, job: str, session: Session) -> None:
        super().__init__(job, session)
        self._changed = threading.Condition()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the images.

        Args:
            timeout: seconds to wait; None: without a limit.

        Raises:
            ResultTimeoutError: they did not come in time; the job goes on.
            JobFailedError: it ended without images (refused, cancelled, expired, failed), or no planner knows it.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._end is not None, timeout):
                raise ResultTimeoutError(self.job, timeout or 0.0, self._last)
        assert self._end is not None  # what the wait was for
        return result_of(self._end)

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
        if self._end is not None:
            return self._end
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
        """Ask the planner to cancel the job; `result` then raises `JobCancelledError`.

        A job that is already done stays done.
        """
        self._session.cancel(self.job).result()

    def set_priority(self, priority: PriorityName, timeout: float = ANSWER_TIMEOUT_S) -> Event:
        """Move the job, while it is WAITING, to another class; return the event that says so.

        Args:
            priority: "high", "normal" or "low".
            timeout: seconds to wait for the planner's answer.

        Raises:
            JobNotWaitingError: a node has it, or it has ended; its priority stays.
            JobUnknownError: no planner knows it.
            PlannerSilentError: no planner answered in time; the wish waits in its queue.
            RequestRefusedError: there is no such priority, or its owner has no right to it.
        """
        wanted, seen = priority_of(priority), len(self._events)
        if self._end is not None:
            return moved(self._end)
        self._session.set_priority(self.job, wanted).result()
        with self._changed:
            if not self._changed.wait_for(lambda: self._answer_about(wanted, seen) is not None, timeout):
                raise PlannerSilentError(timeout)
            answer = self._answer_about(wanted, seen)
        assert answer is not None  # what the wait was for
        return moved(answer)

    def deliver(self, event: Event) -> None:
        """Take an event from the listening thread; what comes after the terminal one is late and dropped."""
        with self._changed:
            if self._take(event):
                self._changed.notify_all()


class Client(BaseClient[JobHandle]):
    """Submits jobs and hears of them. Needs the broker only; safe to share between threads.

    Args:
        settings: default: read from `LADLE_*` variables.
        **changes: single settings to change, such as `broker_url`.
    """

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
            **fields: prompt, and optionally negative_prompt, size, num_inference_steps, guidance_scale, n, seed, model,
                adapter, image, strength, ingress, priority, deadline_s, labels, idempotency_key; see `JobFields`.

        Raises:
            RequestRefusedError: a field is wrong, or an open job of this client has the idempotency_key and another
                request; nothing was queued.
            BrokerUnavailableError: the broker did not confirm; try again, with an idempotency_key to be safe.
        """
        return self.submit_many([fields])[0]

    def submit_many(self, requests: Iterable[JobFields]) -> list[JobHandle]:
        """Submit many jobs at once, or none if one of them is refused; see `submit`.

        Args:
            requests: the fields of each job.
        """
        submissions = self._checked(requests)
        self._session.start()
        handles, fresh = self._handles.submit(submissions)
        confirmed = [self._session.submit(submission) for submission in submissions]
        self._settle(submissions, fresh, [future.exception() for future in confirmed])
        return handles

    def handle(self, job: str) -> JobHandle:
        """Return a handle for a job submitted earlier, perhaps by another process.

        Args:
            job: its id, or the idempotency key that it was submitted with.

        Raises:
            RequestRefusedError: no job can have such an id; nothing was asked.
        """
        job = check_job_id(job, self._session.client)
        self._session.start()
        handle = self._handles.ask(job)
        for confirmed in self._session.ask([job]):
            confirmed.result()
        return handle

    def drain(self, node: str, *, on: bool = True, for_s: float | None = None) -> None:
        """Stop giving jobs to `node`, which finishes the job that it runs.

        Args:
            node: its name.
            on: False gives it jobs again.
            for_s: seconds after which it gets jobs again by itself; None: never.
        """
        self._session.start()
        self._session.drain(node, on=on, for_s=for_s).result()

    def _new_handle(self, job: str) -> JobHandle:
        return JobHandle(job, self._session)

    def _on_events(self, events: list[Event]) -> None:
        self._deliver(events)
