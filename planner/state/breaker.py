"""Whether a node may be given jobs of a model that it has failed again and again.

Kept in memory only: a planner that has just started finds out anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

JOBS_TO_OPEN = 3  # different jobs in a row: fewer can be a coincidence
FIRST_PAUSE_S = 10.0
MAX_PAUSE_S = 300.0


@dataclass(kw_only=True)
class Breaker:
    """What a node has failed of one model since it last did a job of it.

    Attributes:
        jobs: which failed here and, as far as is known, would not fail elsewhere; at most `JOBS_TO_OPEN`.
        reason: of the last failure.
        is_open: the node gets one job of the model at a time, as a trial, and none before `retry_at`.
        pause_s: from one trial that fails to the next one; it doubles.
    """

    jobs: set[str] = field(default_factory=set)
    reason: str = ""
    is_open: bool = False
    pause_s: float = FIRST_PAUSE_S
    retry_at: float = 0.0

    def add(self, job: str) -> None:
        """Note a job that failed here."""
        if len(self.jobs) < JOBS_TO_OPEN:
            self.jobs.add(job)

    def discard(self, job: str) -> None:
        """Take a job off the list, because it fails elsewhere as well; too short a list opens no breaker."""
        self.jobs.discard(job)
        if len(self.jobs) < JOBS_TO_OPEN:
            self.is_open, self.pause_s = False, FIRST_PAUSE_S

    def open(self, now: float) -> None:
        """Ask for a trial after the pause."""
        self.is_open, self.retry_at = True, now + self.pause_s

    def fail_trial(self, now: float) -> None:
        """Wait twice as long for the next one; what the node held when the breaker opened is no trial."""
        if now >= self.retry_at:
            self.pause_s = min(2.0 * self.pause_s, MAX_PAUSE_S)
            self.retry_at = now + self.pause_s
