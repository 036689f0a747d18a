"""How far each client is ahead of its fair share of the nodes' time, in predicted seconds of work."""

from __future__ import annotations

import heapq
from collections.abc import Container

from rl_agent.placing.ordering import share_step


class FairShares:
    """Start tags: the work given to each client, on a virtual clock that runs as if all were served at the same time.

    A client that begins to wait starts at the clock's time, so that nobody can save up service. Each job given to a
    client moves its tag on by the job's predicted seconds, and the clock by those seconds divided among the active
    clients. A client is active while it waits, or while it has been given more than its share. The client with the
    least tag is served next.

    Nothing of this is in the ledger. While clients wait, their tags differ by at most a step and their longest job, so
    a planner that restarts with empty tags gives or takes no client more than that.

    Source: Demers, Keshav, Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", SIGCOMM 1989 (the clock);
    Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996 (order by start tag; the clock never lags behind it).
    Differs: tags are compared in steps of `step_s`, so that within a step the usual order holds.

    Args:
        step_s: seconds of work by which clients may be apart and still count as equal; infinity: all always do.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._clock_s = 0.0
        self._tags: dict[str, float] = {}  # of the active clients
        self._charged: list[tuple[float, str]] = []  # a heap: whose tags the clock will reach next

    def enter(self, client: str) -> None:
        """Note that `client` waits."""
        self._tags.setdefault(client, self._clock_s)

    def step(self, client: str, ahead_s: float = 0.0) -> float:
        """Return how many steps of work `client` has had, counting another `ahead_s`; the least is served next."""
        return share_step(self.had_s(client) + ahead_s, self._step_s)

    def had_s(self, client: str) -> float:
        """Return the tag of `client`: seconds of work it was given, on the clock."""
        return self._tags.get(client, self._clock_s)

    def charge(self, client: str, seconds: float, waiting: Container[str]) -> None:
        """Note that `client` was given `seconds` of work; `waiting` are the clients that wait now."""
        self.enter(client)
        start = self._tags[client]
        self._clock_s = max(self._clock_s + seconds / len(self._tags), start)
        self._tags[client] = start + seconds
        heapq.heappush(self._charged, (start + seconds, client))
        while self._charged and self._charged[0][0] <= self._clock_s:
            _, reached = heapq.heappop(self._charged)
            if reached not in waiting:
                self.leave(reached)

    def leave(self, client: str) -> None:
        """Note that `client` no longer waits; it is forgotten unless it is ahead of its share."""
        if self._tags.get(client, self._clock_s) <= self._clock_s:
            self._tags.pop(client, None)
