"""What `Client` and `AsyncClient` share: settings, checked requests, and the events received so far.

Left out: waiting. A thread waits on a condition, a task of an event loop on a future.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from broker_config.errors import RequestRefusedError
from broker_config.messages import TERMINAL_EVENTS, Event, EventKind, FailureKind, Priority, Submission
from broker_config.settings import Settings, load_settings
from planner.client.handles import Handles
from planner.client.request import JobFields, build_submission
from planner.client.session import Session
from planner.errors import JobNotWaitingError, JobUnknownError

ANSWER_TIMEOUT_S = 10.0
ANSWERS = TERMINAL_EVENTS | {EventKind.STATUS}


class BaseJobHandle:
    """What is known of one submitted job: the events so far.

    Attributes:
        job: its id.
    """

    def __init__(self, job: str, session: Session) -> None:
        self.job = job
        self._session = session
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.job} {self._last}>"

    def deliver(self, event: Event) -> None:
        """Take an event of the job."""
        raise NotImplementedError

    def _take(self, event: Event) -> bool:
        """Keep an event, unless it is late: the terminal one came before. Return whether it was kept."""
        if self._end is not None:
            return False
        self._events.append(event)
        return True

    @property
    def _end(self) -> Event | None:
        """The terminal event, None while the job goes on."""
        return self._events[-1] if self._events and self._events[-1].kind in TERMINAL_EVENTS else None

    @property
    def _last(self) -> str:
        """What was heard last."""
        return str(self._events[-1].kind) if self._events else "submitted"

    def _answer(self, seen: int) -> Event | None:
        """Return the planner's answer among the events after the first `seen`, None if there is none yet."""
        return next((event for event in self._events[seen:] if event.kind in ANSWERS), None)

    def _answer_about(self, priority: Priority, seen: int) -> Event | None:
        """Return the answer to a wish for `priority`; an event of somebody else's wish for another is none."""
        if self._end is not None:
            return self._end
        about = (event for event in self._events[seen:] if event.kind is EventKind.PRIORITY)
        return next((event for event in about if event.reason is not None or event.priority is priority), None)


def moved(answer: Event) -> Event:
    """Return the event of a job that has the priority that was asked for.

    Raises:
        JobNotWaitingError: it does not wait any more.
        JobUnknownError: no planner knows it.
        RequestRefusedError: its owner has no right to that priority.
    """
    if answer.kind is EventKind.UNKNOWN:
        raise JobUnknownError(answer.job, answer.reason or "")
    if answer.failure is not None and answer.failure.kind is FailureKind.BAD_REQUEST:
        raise RequestRefusedError(answer.failure.message, "priority")
    if answer.kind is not EventKind.PRIORITY or answer.reason is not None:
        raise JobNotWaitingError(answer.job, answer.reason or f"it is {answer.state or answer.kind.upper()}")
    return answer


H = TypeVar("H", bound=BaseJobHandle)


class BaseClient(Generic[H]):
    """Submits jobs and hears of them. Needs the broker only.

    Args:
        settings: default: read from `LADLE_*` variables.
        key: name of the API key that a gateway asks for; empty: no gateway's.
        **changes: single settings to change, such as `broker_url`.
    """

    def __init__(self, settings: Settings | None = None, *, key: str = "", **changes: Any) -> None:
        settings = settings or load_settings()
        self.settings = settings.with_changes(**changes) if changes else settings
        self._session = Session(self.settings, self._on_events, key)
        self._handles: Handles[H] = Handles(self._new_handle)

    def _new_handle(self, job: str) -> H:
        raise NotImplementedError

    def _on_events(self, events: list[Event]) -> None:
        """Have `_deliver` called with the events, where the handles live; runs in the listening thread."""
        raise NotImplementedError

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            hearing, is_open = self._handles.hearing(event)
            self._session.heard(event.job, is_over=not is_open)
            for handle in hearing:
                handle.deliver(event)

    def _checked(self, requests: Iterable[JobFields]) -> list[Submission]:
        return [build_submission(self.settings, self._session.client, **fields) for fields in requests]

    def _settle(
        self, submissions: Sequence[Submission], fresh: set[str], errors: Sequence[BaseException | None]
    ) -> None:
        """Forget the fresh jobs whose submission did not leave, and raise the first error."""
        for submission, error in zip(submissions, errors, strict=True):
            if error is not None and submission.job in fresh:
                self._handles.forget(submission.job)
                self._session.heard(submission.job, is_over=True)
        for error in errors:
            if error is not None:
                raise error
