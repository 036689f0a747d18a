"""Which handles of a client receive an event: the same for `Client` and `AsyncClient`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from broker_config.errors import RequestRefusedError
from broker_config.messages import TERMINAL_EVENTS, Event, EventKind, ImageRequest, Submission
from broker_config.refusals import KEY_REUSED

H = TypeVar("H")


class Handles(Generic[H]):
    """The handles of one client's open jobs; safe to share between threads.

    Args:
        make: makes the handle of a job.
    """

    def __init__(self, make: Callable[[str], H]) -> None:
        self._make = make
        self._submitted: dict[str, tuple[ImageRequest, H]] = {}
        self._asked: dict[str, H] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._submitted) + len(self._asked)

    def submit(self, submissions: Sequence[Submission]) -> tuple[list[H], set[str]]:
        """Return a handle for each submission, and the jobs that had none before.

        The planner refuses a different request under a key that it knows. While a job of that key is open here, it is
        refused here: events carry only the job's id, so the first handle would receive the planner's refusal as well.

        Raises:
            RequestRefusedError: a key is used for two different requests; no handle was made.
        """
        with self._lock:
            requests = {job: request for job, (request, _) in self._submitted.items()}
            for submission in submissions:
                if requests.setdefault(submission.job, submission.request) != submission.request:
                    raise RequestRefusedError(KEY_REUSED, "idempotency_key")
            fresh = requests.keys() - self._submitted.keys()
            self._submitted |= {job: (requests[job], self._make(job)) for job in fresh}
            return [self._submitted[submission.job][1] for submission in submissions], fresh

    def ask(self, job: str) -> H:
        """Return the handle of a job by its id alone."""
        with self._lock:
            if job in self._submitted:
                return self._submitted[job][1]
            if job not in self._asked:
                self._asked[job] = self._make(job)
            return self._asked[job]

    def forget(self, job: str) -> None:
        """Drop the handle of a submission that was not sent."""
        with self._lock:
            self._submitted.pop(job, None)

    def hearing(self, event: Event) -> tuple[list[H], bool]:
        """Return the handles that receive `event`, and whether any handle of its job still waits.

        A refusal answers a submission: a handle that only asked about the job does not receive it.
        """
        with self._lock:
            hearing = [self._submitted[event.job][1]] if event.job in self._submitted else []
            is_over = event.kind in TERMINAL_EVENTS
            if is_over:
                self._submitted.pop(event.job, None)
            if event.job in self._asked and event.kind is not EventKind.REFUSED:
                hearing.append(self._asked.pop(event.job) if is_over else self._asked[event.job])
            return hearing, event.job in self._submitted or event.job in self._asked
