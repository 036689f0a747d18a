"""The joint order: which job of a batch is decided next follows from the node that each would choose now.

`joint-completion` and the learned policy decide in it. What they decide is theirs; this is the order alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.observation import Observation
from rl_agent.placing.ordering import Precedence
from rl_agent.placing.outlook import EVERY, Outlook
from rl_agent.placing.placer import WAITING
from rl_agent.placing.prices import priced_delay_s, priced_service_s

JOINT_AGEING = 0.15
"""Seconds of service that one second of waiting makes up for when very many jobs wait; more when few do (`ageing_now`).

Less serves short jobs and those of a loaded model yet sooner, and lets others wait longer: .1 had 1-6 % less mean delay
at 10 nodes, and a p99 of up to 1.03 times that of earliest completion.
"""

IDLE_AGEING = 10.0
"""Times the ageing when hardly any job waits. There the order gains little, and a job passed over is soon among the
slowest: at 50 nodes the p99 of the shipped policy was 1.00 times that of earliest completion, and 1.03-1.04 times with
one ageing of .3."""

PRESSURE_SCALE = 4.0
"""How fast the extra ageing falls with the jobs that wait for each node: to a fifth of it at one job."""


class JointOrder:
    """Yields the jobs of a batch, one after another, until no node has room; call `give` after each.

    Each job aims at the node where its priced delay (`rl_agent.placing.prices`) is least. Next is the job of least
    service on that node, load and eviction included, minus `ageing_now` x the seconds it has waited. Once it is given
    to a node, all jobs aim anew. So jobs of a model run while it is in memory, and short ones first.

    Priority classes and fair shares stand above this order (`Precedence`). Within them no job starves, whatever nodes
    are chosen: it can be passed by another of its batch only if that one arrived less than (its own service / `ageing`)
    seconds later, with load and eviction in the service. Into the batch it comes by the planner's order, with the bound
    of `ordering`.

    Shortest job first with ageing, over pairs of job and node. The nearest in the literature is the heuristic Min-min:
    Ibarra, Kim, "Heuristic Algorithms for Scheduling Independent Tasks on Nonidentical Processors", JACM 24 (1977).
    Differs: by service instead of completion, so that a job that waits for a busy node does not lose its turn; ageing.

    Cost: O(J x N) once, then O(J) for each job decided and O(N) for each job that aimed at its node.

    Args:
        outlook: the nodes, at the start of the batch; `give` keeps it up to date.
        ageing: seconds of service that one second of waiting makes up for, at least.

    Attributes:
        rank: (J,) as in `Placement`, of the jobs given so far.
    """

    def __init__(self, outlook: Outlook, ageing: float = JOINT_AGEING) -> None:
        jobs = len(outlook.observation.jobs)
        self.rank = np.full(jobs, jobs, dtype=np.int64)
        self._outlook = outlook
        self._ageing = ageing
        self._room = int(outlook.room.sum())
        self._turn = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the rows of the jobs; none twice."""
        if self._room <= 0:
            return
        seen = self._outlook.observation
        self._precedence = Precedence(seen)
        self._aims = _Aims(self._outlook)
        made_up_s = ageing_now(seen, self._ageing) * seen.waited_s
        while self._room > 0 and (may_be_next := self._precedence.open()).any():
            yield int(np.argmin(np.where(may_be_next, self._aims.service_s - made_up_s, np.inf)))

    def aim(self, job: int) -> int:
        """Return the node of least priced delay for a job that was yielded."""
        return int(self._aims.node[job])

    def give(self, job: int, node: int) -> bool:
        """Give the job that was yielded to the node, or let it wait for the node if that has no room.

        Args:
            job: its row.
            node: any node that is eligible, or WAITING: the job is left out of this batch.

        Returns:
            Whether there was room, so that the job is placed now.
        """
        self._precedence.decide(job)
        self.rank[job] = self._turn
        self._turn += 1
        is_placed = node != WAITING and self._outlook.take(job, node)
        self._room -= is_placed
        self._aims.decided(job, node)
        return is_placed


def ageing_now(observation: Observation, ageing: float) -> float:
    """Return the seconds of service that one second of waiting makes up for, while so many jobs wait.

    It falls with the WAITING jobs for each node that may be chosen, from `IDLE_AGEING` x `ageing` to `ageing`.
    """
    nodes = max(int(observation.eligible.any(axis=0).sum()), 1)
    return ageing * (1.0 + (IDLE_AGEING - 1.0) / (1.0 + PRESSURE_SCALE * observation.waiting / nodes))


class _Aims:
    """The node that each undecided job of a batch would choose now, kept up to date one decision at a time.

    Attributes:
        node: (J,) of least priced delay.
        service_s: (J,) seconds for which the job would keep that node busy, eviction included.
    """

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._eligible = outlook.observation.eligible
        self._delays_s = np.where(self._eligible, priced_delay_s(outlook, EVERY), np.inf)
        self._services_s = priced_service_s(outlook, EVERY)
        jobs = len(self._eligible)
        self._delay_s = np.empty(jobs)
        self.node = np.empty(jobs, dtype=np.int64)
        self.service_s = np.empty(jobs)
        self._aim(np.arange(jobs))

    def decided(self, job: int, node: int) -> None:
        """Leave out row `job`; if the outlook gave it to a node, let the others aim anew."""
        self._delay_s[job], self.node[job] = -np.inf, WAITING  # nothing is as soon, and no node that changes is its
        if node == WAITING:
            return
        delay_s = np.where(self._eligible[:, node], priced_delay_s(self._outlook, EVERY, node), np.inf)
        self._delays_s[:, node] = delay_s
        self._services_s[:, node] = priced_service_s(self._outlook, EVERY, node)
        self._aim(np.flatnonzero((self.node == node) | (delay_s <= self._delay_s)))

    def _aim(self, jobs: NDArray[np.int64]) -> None:
        node = self._delays_s[jobs].argmin(axis=1)
        self.node[jobs] = node
        self._delay_s[jobs] = self._delays_s[jobs, node]
        self.service_s[jobs] = self._services_s[jobs, node]
