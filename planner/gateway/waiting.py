"""Which requests wait for which job: a job whose last request has gone is cancelled, unless it is asked for again.

openai-python and its like repeat a request by themselves when a connection breaks, without any key. They number their
attempts, and the body is the same: that is how a repetition finds the job that is drawn for it already.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from planner.gateway.keys import Owner

MAX_REMEMBERED = 10_000  # requests of the last minutes; each is some 200 bytes


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and how a repeated request is known.

    Attributes:
        key: the Idempotency-Key.
        body_sha256: of a request whose client numbers its attempts; empty: it does not.
        is_repeated: the client says that it has sent this body before.
    """

    owner: Owner
    key: str | None = None
    body_sha256: str = ""
    is_repeated: bool = False


class WaitingRequests:
    """Counts the requests that wait for each job.

    Args:
        cancel: cancels a job.
        cancel_after_s: seconds after which a job that nobody waits for is cancelled; inf: never.
    """

    def __init__(self, cancel: Callable[[str], Awaitable[None]], cancel_after_s: float) -> None:
        self._cancel = cancel
        self._cancel_after_s = cancel_after_s
        self._counts: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Future[None]] = set()

    def enter(self, job: str) -> None:
        """One more request waits for a job."""
        self._counts[job] += 1
        if timer := self._timers.pop(job, None):
            timer.cancel()

    def leave(self, job: str, *, goes_on: bool) -> None:
        """One request fewer waits; unless the job `goes_on` or has ended, the last one to leave takes it along."""
        self._counts[job] -= 1
        if self._counts[job] > 0:
            return
        del self._counts[job]
        if not goes_on and math.isfinite(self._cancel_after_s):
            loop = asyncio.get_running_loop()
            self._timers[job] = loop.call_later(self._cancel_after_s, self._give_up, job)

    def has(self, job: str) -> bool:
        """Tell whether a request waits for a job."""
        return job in self._counts

    def close(self) -> None:
        """Cancel nothing any more: those who waited ask another gateway."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _give_up(self, job: str) -> None:
        del self._timers[job]
        cancelling = asyncio.ensure_future(self._cancel(job))
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)


class Repetitions:
    """Remembers which job each recent body was for, where the client numbers its attempts.

    Of equal bodies that are no repetitions each has a job of its own. A repetition gets the newest of them that nobody
    waits for any more. Another process knows nothing of them: behind several, an Idempotency-Key is safer.
    """

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], list[str]] = OrderedDict()

    def note(self, caller: Caller, job: str) -> None:
        """Remember the job of a request."""
        if not caller.body_sha256:
            return
        known = self._jobs.setdefault(self._key(caller), [])
        if job not in known:
            known.append(job)
        self._jobs.move_to_end(self._key(caller))
        if len(self._jobs) > MAX_REMEMBERED:
            self._jobs.popitem(last=False)

    def forget(self, job: str) -> None:
        """Let no repetition find a job any more."""
        for jobs in self._jobs.values():
            if job in jobs:
                jobs.remove(job)

    def job_of(self, caller: Caller, is_waited_for: Callable[[str], bool]) -> str | None:
        """Return the job that a repeated request is for, None if it is no repetition of a known one."""
        known = self._jobs.get(self._key(caller), []) if caller.is_repeated else []
        alone = [job for job in known if not is_waited_for(job)]
        found = alone or known
        return found[-1] if found else None

    @staticmethod
    def _key(caller: Caller) -> tuple[str, str]:
        return caller.owner.name, caller.body_sha256
