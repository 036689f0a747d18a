"""How long a node says that its jobs take, held against the planner's clock, which no node can set.

A node works on what it holds from the placement of an attempt to its outcome. The load and generation that it reports
meanwhile should add up to about as many seconds. Where they do not, again and again, the node is taken to need as long
as the clock says. It does not matter why: it boasts, its link or its disk is slow, or something else uses its queue.

Kept in memory only: a planner that has just started finds out anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

KEPT = 5  # findings: three of them decide, so that two incidents, such as a cut link and a restart, do not
TOLERANCE = 1.5  # the clock may say so many times what the node says,
LATENCY_S = 1.0  # and messages and the planner's own turns may take that long
MIN_SAID_S = 1e-6  # so that a node which says that it needs nothing is measured too


@dataclass(kw_only=True)
class SaidTimes:
    """What a node has said, and what was found of it.

    Attributes:
        since: an attempt that was placed earlier is no evidence against the node: the planner did not run meanwhile, or
            the attempt was held up by what is found already. So whatever happens once is one finding, however many
            attempts the node held.
        total_s: seconds of work that the node has reported, and what attempts took that it did not finish.
        findings: of the last attempts: 1 where the clock agrees, else how many times longer they took than reported.
    """

    since: float
    total_s: float = 0.0
    findings: deque[float] = field(default_factory=lambda: deque([1.0] * KEPT, maxlen=KEPT))

    @property
    def factor(self) -> float:
        """Return how many times longer than reported the node's jobs usually take; 1 for a node that is believed."""
        return median(self.findings)

    def excuse(self, begins_at: float | None, now: float) -> None:
        """Take the time of an attempt that the node did not finish as work: what it reports of that is nothing."""
        if begins_at is not None:
            self.total_s += max(now - begins_at, 0.0)

    def compare(self, *, said_s: float, placed_at: float, total_when_placed_s: float, now: float) -> float:
        """Take in a done attempt; return by how much to multiply what its node says of it, at least 1.

        Args:
            said_s: load and generation, as reported; a load only as far as one was due.
            placed_at: on the planner's clock.
            total_when_placed_s: `total_s` at that time.
            now: on the planner's clock, when the outcome came.
        """
        self.total_s += max(said_s, MIN_SAID_S)
        ratio = _ratio(now - placed_at, self.total_s - total_when_placed_s)
        if ratio == 1.0:
            self.findings.append(ratio)
        elif placed_at >= self.since:
            self.findings.append(ratio)
            self.since = now
        return min(ratio, self.factor)


def _ratio(held_s: float, said_s: float) -> float:
    """Return how many times longer the clock says, or 1 where that may be latency."""
    if held_s <= TOLERANCE * said_s + LATENCY_S:
        return 1.0
    return held_s / max(said_s, MIN_SAID_S)
