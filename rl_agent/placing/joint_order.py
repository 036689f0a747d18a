"""The joint order: which job of a batch is decided next follows from the node that each would choose now.

`joint-completion` decides in it; `patient-completion` and the learned policy in its patient form. What they decide is
theirs; this is the order alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.ordering import Precedence
from rl_agent.placing.outlook import EVERY, Outlook
from rl_agent.placing.placer import WAITING
from rl_agent.placing.prices import congested_delay_s, priced_delay_s, priced_service_s

JOINT_AGEING = 0.15
"""Seconds of service that one second of waiting makes up for when very many jobs wait; more when few do (`ageing_now`).

Less serves short jobs and those of a loaded model yet sooner, and lets others wait longer: .1 had 1-6 % less mean delay
at 10 nodes, and a p99 of up to 1.03 times that of earliest completion.
"""

IDLE_AGEING = 20.0
"""Times the ageing when hardly any job waits. There the order gains little, and a job passed over is soon among the
slowest: with 10 the mean is .3 % lower and the p99 3 % higher."""

AGEING_SCALE = 6.0
"""How fast the extra ageing falls with the WAITING jobs for each node: to a seventh of it at one job."""

NEARLY_FREE = 0.5
"""Typical generations that a node may still have to do when it is given its next job: 0 is 1 % slower, as a node then
stands idle while a picture travels, and its p99 is 5 % higher; 1 is no better."""


class JointOrder:
    """Yields the jobs of a batch, one after another, until no node has room; call `give` after each.

    Each job aims at the node where its priced delay (`rl_agent.placing.prices`) is least. Next is the job of least
    service on that node, load and eviction included, minus `ageing_now` x the seconds it has waited. Once it is given
    to a node, all jobs aim anew. So jobs of a model run while it is in memory, and short ones first.

    **Patient**: a job aims at the node where `congested_delay_s` is least. A busy node is given one only once it is
    nearly free: what it still has to do is at most `NEARLY_FREE` typical generations, the handover and the transfer of
    the job's input. Until then the job waits for the node, and a better one may come before it or take its place.

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
        is_patient: see above.

    Attributes:
        rank: (J,) as in `Placement`, of the jobs given so far.
    """

    def __init__(self, outlook: Outlook, ageing: float = JOINT_AGEING, *, is_patient: bool = False) -> None:
        seen = outlook.observation
        jobs = len(seen.jobs)
        self.rank = np.full(jobs, jobs, dtype=np.int64)
        self._outlook = outlook
        self._ageing = ageing
        self._is_patient = is_patient
        self._nearly_free_s = NEARLY_FREE * seen.typical_generation_s + seen.handover_s if is_patient else np.inf
        self._latest_s = self._nearly_free_s + seen.transfer_in_s.max(axis=0, initial=0.0)
        self._turn = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the rows of the jobs; none twice."""
        if not self._may_place():
            return
        seen = self._outlook.observation
        self._precedence = Precedence(seen)
        self._aims = _Aims(self._outlook, congested_delay_s if self._is_patient else priced_delay_s)
        made_up_s = ageing_now(self._outlook.pressure, self._ageing) * seen.waited_s
        while self._may_place() and (may_be_next := self._precedence.open()).any():
            yield int(np.argmin(np.where(may_be_next, self._aims.service_s - made_up_s, np.inf)))

    def aim(self, job: int) -> int:
        """Return the node that a job that was yielded aims at."""
        return int(self._aims.node[job])

    def give(self, job: int, node: int) -> bool:
        """Give the job that was yielded to the node, or let it wait for the node if it cannot have a place now.

        Args:
            job: its row.
            node: any node that is eligible, or WAITING: the job is left out of this batch.

        Returns:
            Whether the job is placed now.
        """
        self._precedence.decide(job)
        self.rank[job] = self._turn
        self._turn += 1
        is_placed = node != WAITING and self._take(job, node)
        self._aims.decided(job, node)
        return is_placed

    def _take(self, job: int, node: int) -> bool:
        transfer_in_s = self._outlook.observation.transfer_in_s[job, node]
        if self._outlook.backlog_s[node] <= self._nearly_free_s + transfer_in_s:
            return self._outlook.take(job, node)
        self._outlook.wait_for(job, node)
        return False

    def _may_place(self) -> bool:
        """Return whether some node has room and may be nearly free enough for some job."""
        return bool(((self._outlook.room > 0) & (self._outlook.backlog_s <= self._latest_s)).any())


def ageing_now(pressure: float, ageing: float) -> float:
    """Return the seconds of service that one second of waiting makes up for, while so many jobs wait for each node.

    It falls with them from `IDLE_AGEING` x `ageing` to `ageing`.
    """
    return ageing * (1.0 + (IDLE_AGEING - 1.0) / (1.0 + AGEING_SCALE * pressure))


class _Aims:
    """The node that each undecided job of a batch would choose now, kept up to date one decision at a time.

    Args:
        outlook: the nodes.
        cost_s: of a job on a node; it aims where that is least.

    Attributes:
        node: (J,) that each aims at.
        service_s: (J,) seconds for which the job would keep that node busy, eviction included.
    """

    def __init__(self, outlook: Outlook, cost_s: Callable[..., FloatArray]) -> None:
        self._outlook = outlook
        self._cost_of = cost_s
        self._eligible = outlook.observation.eligible
        self._costs_s = np.where(self._eligible, cost_s(outlook, EVERY), np.inf)
        self._services_s = priced_service_s(outlook, EVERY)
        jobs = len(self._eligible)
        self._cost_s = np.empty(jobs)
        self.node = np.empty(jobs, dtype=np.int64)
        self.service_s = np.empty(jobs)
        self._aim(np.arange(jobs))

    def decided(self, job: int, node: int) -> None:
        """Leave out row `job`; if the outlook gave it to a node, let the others aim anew."""
        self._cost_s[job], self.node[job] = -np.inf, WAITING  # nothing is as soon, and no node that changes is its
        if node == WAITING:
            return
        cost_s = np.where(self._eligible[:, node], self._cost_of(self._outlook, EVERY, node), np.inf)
        self._costs_s[:, node] = cost_s
        self._services_s[:, node] = priced_service_s(self._outlook, EVERY, node)
        self._aim(np.flatnonzero((self.node == node) | (cost_s <= self._cost_s)))

    def _aim(self, jobs: NDArray[np.int64]) -> None:
        node = self._costs_s[jobs].argmin(axis=1)
        self.node[jobs] = node
        self._cost_s[jobs] = self._costs_s[jobs, node]
        self.service_s[jobs] = self._services_s[jobs, node]
