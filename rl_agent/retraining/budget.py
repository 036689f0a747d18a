"""The time of one round of retraining: all of it counts, from reading the log to the verdict.

A round has seconds by the wall and seconds of the processor; whichever is used up first ends it. Its parts end at
shares of that: learning that lasts too long is stopped, wherever it is, so that there is time for the gate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rl_agent.retraining.plan import ProgressCallback

SEARCHED_BY = 0.3
"""Share of the time at which the search ends."""
LEARNED_BY = 0.55
"""Share at which learning ends; with the reading and the search that is about half of the round."""
VALIDATED_BY = 0.6
"""Share at which the last validation ends. The rest is the gate's: it plays each held-out job under eight placers."""
JUDGED_BY = 0.95
"""Share at which the gate ends; what is left is for writing the verdict."""
TELL_EVERY_S = 0.1
"""Of progress: more often nobody could see it."""
NOTE_EVERY_S = 5.0
"""Of the time used, in the ledger: what a round that is killed has used since is not counted."""


class OutOfTimeError(Exception):
    """A part of the round has no time left; what it has finished is valid."""


class RoundBudget:
    """Measures what a round uses, and stops it.

    Args:
        seconds: by the wall, from now.
        progress: called with what is being done and the share that is done.
    """

    def __init__(self, seconds: float, progress: ProgressCallback = lambda _what, _share: None) -> None:
        self._limits_s = seconds, math.inf
        self._progress = progress
        self._note: Callable[[float, float], None] = lambda _wall_s, _processor_s: None
        self._began = time.monotonic(), time.process_time()
        self._told_s = self._noted_s = -math.inf

    def bound(self, processor_s: float, note: Callable[[float, float], None]) -> None:
        """Set how many seconds of the processor the round may use in all, and who notes the seconds used."""
        self._limits_s = self._limits_s[0], processor_s
        self._note = note

    def used_s(self) -> tuple[float, float]:
        """Return the seconds used by the wall and of the processor."""
        return time.monotonic() - self._began[0], time.process_time() - self._began[1]

    @property
    def spent(self) -> float:
        """Return the share of the time that is used; the tighter of the two limits counts."""
        return max(used / limit for used, limit in zip(self.used_s(), self._limits_s, strict=True))

    def verdict(self) -> str:
        """Say how much time was used, and which setting allows more."""
        wall_s, processor_s = self.used_s()
        is_by_wall = wall_s / self._limits_s[0] >= processor_s / self._limits_s[1]
        setting = "LADLE_RETRAIN_SECONDS" if is_by_wall else "LADLE_RETRAIN_SHARE"
        return f"after {wall_s:.0f} s and {processor_s:.0f} s of the processor ({setting} allows no more)"

    def left_s(self, until: float) -> float:
        """Return the seconds until that share of the time is used, at the present pace."""
        wall_s, _ = self.used_s()
        pace = max(self.spent / max(wall_s, 1e-9), 1.0 / self._limits_s[0])
        return max(until - self.spent, 0.0) / pace

    def tell(self, what: str, share: float) -> None:
        """Report progress, and note the time used now and then."""
        wall_s, processor_s = self.used_s()
        if wall_s - self._told_s >= TELL_EVERY_S or share <= 0.0 or share >= 1.0:
            self._told_s = wall_s
            self._progress(what, min(max(share, 0.0), 1.0))
        if wall_s - self._noted_s >= NOTE_EVERY_S:
            self._noted_s = wall_s
            self._note(wall_s, processor_s)

    def phase(self, what: str, until: float) -> Phase:
        """Begin a part of the round that ends at the share `until` of its time."""
        return Phase(self, what, until)


class Phase:
    """A part of a round.

    Attributes:
        done: share of its work that is done; whoever works says so.
    """

    def __init__(self, budget: RoundBudget, what: str, until: float) -> None:
        self.done = 0.0
        self._budget = budget
        self._what = what
        self._until = until
        self._from = budget.spent
        budget.tell(what, 0.0)

    def goes_on(self) -> bool:
        """Report the progress, by work or by time, and return whether there is time left."""
        spent = self._budget.spent
        by_time = (spent - self._from) / max(self._until - self._from, 1e-9)
        self._budget.tell(self._what, max(self.done, by_time))
        return spent < self._until

    def check(self) -> None:
        """Go on while there is time.

        Raises:
            OutOfTimeError: there is none.
        """
        if not self.goes_on():
            raise OutOfTimeError(self._what)
