"""The rules that choose a node without learning, by the names of `LADLE_PLACER`.

Only the three rules of completion (and the learned placer) may let a job wait although some node has room, because a
fast node that is busy can still finish it sooner than a slow idle one. Only `joint-completion` chooses which job is
next; the others keep the planner's order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.observation import Observation
from rl_agent.placing.ordering import Precedence
from rl_agent.placing.outlook import EVERY, Outlook
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.placing.prices import priced_delay_s, priced_service_s

JOINT_AGEING = 0.3
"""Seconds of service that one second of waiting makes up for in `joint-completion`.

Less serves short jobs and those of a loaded model yet sooner, and lets others wait longer: .1 had 5-12 % less mean
delay but a p99 up to 1.16 times that of earliest completion; 1 is close to priced completion in the planner's order.
"""


class Rule:
    """A placer that handles the jobs of a batch one after another, each after what it placed before."""

    name = ""
    policy_version: str | None = None

    def __init__(self, seed: int | None = None) -> None:
        self.generator = np.random.default_rng(seed)

    def place(self, observation: Observation) -> Placement:
        """Place each job by `probabilities`, until no node has room; the remaining jobs stay WAITING."""
        jobs, nodes = observation.eligible.shape
        chosen = np.full(jobs, WAITING, dtype=np.int64)
        probabilities = np.zeros((jobs, nodes))
        outlook = Outlook(observation)
        room = int(outlook.room.sum())
        for job in range(jobs):
            if room <= 0:
                break
            candidates = observation.eligible[job] & self.considers(outlook.room)
            if not candidates.any():
                continue
            probabilities[job] = self.probabilities(outlook, job, candidates)
            node = self._draw(probabilities[job])
            if node != WAITING and outlook.take(job, node):
                chosen[job] = node
                room -= 1
        return Placement(node=chosen, probabilities=probabilities)

    def considers(self, room: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) nodes the rule considers: those with room, unless a job may wait for a busy one."""
        return room > 0

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) how likely the rule is to choose each node for row `job`; all zero leaves the job WAITING."""
        raise NotImplementedError

    def _draw(self, probabilities: FloatArray) -> int:
        support = np.flatnonzero(probabilities)
        if len(support) == 0:
            return WAITING
        if len(support) == 1:
            return int(support[0])
        return int(self.generator.choice(len(probabilities), p=probabilities / probabilities.sum()))


def _uniform(candidates: NDArray[np.bool_]) -> FloatArray:
    shares: FloatArray = candidates / candidates.sum()
    return shares


def _one_hot(index: int, size: int) -> FloatArray:
    row = np.zeros(size)
    row[index] = 1.0
    return row


class RandomPlacer(Rule):
    """Any eligible node with room, uniformly."""

    name = "random"

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) uniform over the candidates."""
        return _uniform(candidates)


class RoundRobinPlacer(Rule):
    """The node with room that was chosen longest ago."""

    name = "round-robin"

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self._turn: dict[str, int] = {}
        self._count = 0

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the node whose turn it is."""
        nodes = outlook.observation.nodes
        turns = np.array([self._turn.get(name, 0) for name in nodes], dtype=np.float64)
        node = int(np.argmin(np.where(candidates, turns, np.inf)))
        self._count += 1
        self._turn[nodes[node]] = self._count
        return _one_hot(node, len(turns))


class WeightedRoundRobinPlacer(Rule):
    """Round robin in proportion to speed: the node that is furthest behind its share of the work.

    The counter is work divided by speed, so that a node twice as fast gets twice as much work in the long run.
    """

    name = "weighted-round-robin"

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self._given_s: dict[str, float] = {}

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the node with the fewest seconds of work given so far, this job included."""
        observation = outlook.observation
        newcomer = min((self._given_s.get(node, np.inf) for node in observation.nodes), default=np.inf)
        floor = 0.0 if np.isinf(newcomer) else newcomer
        given_s = np.array([self._given_s.setdefault(node, floor) for node in observation.nodes])
        after_s = given_s + observation.generation_s[job]
        node = int(np.argmin(np.where(candidates, after_s, np.inf)))
        self._given_s[observation.nodes[node]] = float(after_s[node])
        return _one_hot(node, len(after_s))


class LocalOnlyPlacer(Rule):
    """The node where the job arrived; a job that arrived elsewhere goes to a random node."""

    name = "local-only"

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the ingress; all zero while the ingress is busy."""
        local = outlook.observation.is_ingress[job]
        if local.any():
            return np.asarray(local & candidates, dtype=np.float64)
        return _uniform(candidates)


class LeastBacklogPlacer(Rule):
    """The node with the fewest predicted seconds of work left."""

    name = "least-backlog"

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the least backlog."""
        return _one_hot(int(np.argmin(np.where(candidates, outlook.backlog_s, np.inf))), len(candidates))


class TwoChoicesPlacer(Rule):
    """The shorter backlog of two nodes drawn at random (power of two choices)."""

    name = "two-choices"

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) chance that a node is the better one of a uniform pair, ties to the lower index."""
        order = np.flatnonzero(candidates)[np.argsort(outlook.backlog_s[candidates], kind="stable")]
        probabilities = np.zeros(len(candidates))
        if len(order) == 1:
            probabilities[order] = 1.0
        else:
            probabilities[order] = np.arange(len(order) - 1, -1, -1) * 2.0 / (len(order) * (len(order) - 1))
        return probabilities


class EarliestCompletionPlacer(Rule):
    """The node that is predicted to return the result first; the job waits for a busy node where that is sooner."""

    name = "earliest-completion"

    def considers(self, room: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) every node: a busy fast node can beat an idle slow one."""
        return np.ones(len(room), dtype=bool)

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the least predicted delay."""
        delay_s = outlook.delay_s(job)
        return _one_hot(int(np.argmin(np.where(candidates, delay_s, np.inf))), len(delay_s))


class PricedCompletionPlacer(EarliestCompletionPlacer):
    """Earliest completion that also pays for what a model load costs the other jobs (`rl_agent.placing.prices`)."""

    name = "priced-completion"

    def probabilities(self, outlook: Outlook, job: int, candidates: NDArray[np.bool_]) -> FloatArray:
        """(N,) one on the least predicted delay plus prices."""
        cost_s = priced_delay_s(outlook, job)
        return _one_hot(int(np.argmin(np.where(candidates, cost_s, np.inf))), len(cost_s))


class JointCompletionPlacer(Rule):
    """Chooses job and node together: next is the job that costs its best node least, less what it has waited.

    Each job aims at the node where its priced delay (`rl_agent.placing.prices`) is least. The job decided next is the
    one of least service on that node, load and eviction included, minus `ageing` x the seconds it has waited. It gets
    its node, or waits for it if that has no room. Then all jobs aim anew, until no node has room. So jobs of a model
    run while it is in memory, and short ones first.

    Priority classes and fair shares stand above this order (`Precedence`). Within them no job starves: it can be passed
    by another of its batch only if that one arrived less than (its own service / `ageing`) seconds later, with load and
    eviction in the service. Into the batch it comes by the planner's order, with the bound of `ordering`.

    Shortest job first with ageing, over pairs of job and node. The nearest in the literature is the heuristic Min-min:
    Ibarra, Kim, "Heuristic Algorithms for Scheduling Independent Tasks on Nonidentical Processors", JACM 24 (1977).
    Differs: by service instead of completion, so that a job that waits for a busy node does not lose its turn; ageing.

    Cost: O(J x N) once, then O(J) for each job decided and O(N) for each job that aimed at its node.

    Args:
        seed: not used, it draws nothing.
        ageing: seconds of service that one second of waiting makes up for.
    """

    name = "joint-completion"

    def __init__(self, seed: int | None = None, *, ageing: float = JOINT_AGEING) -> None:
        super().__init__(seed)
        self.ageing = ageing

    def place(self, observation: Observation) -> Placement:
        """Decide one job after another until no node has room; the remaining jobs stay WAITING."""
        jobs, nodes = observation.eligible.shape
        chosen = np.full(jobs, WAITING, dtype=np.int64)
        rank = np.full(jobs, jobs, dtype=np.int64)
        probabilities = np.zeros((jobs, nodes))
        outlook, precedence = Outlook(observation), Precedence(observation)
        room = int(outlook.room.sum())
        aims = _Aims(outlook) if room > 0 else None
        for turn in range(jobs):
            may_be_next = precedence.open()
            if aims is None or room <= 0 or not may_be_next.any():
                break
            cost_s = aims.service_s - self.ageing * observation.waited_s
            job = int(np.argmin(np.where(may_be_next, cost_s, np.inf)))
            node = int(aims.node[job])
            precedence.decide(job)
            rank[job] = turn
            probabilities[job, node] = 1.0
            if outlook.take(job, node):
                chosen[job] = node
                room -= 1
            aims.decided(job)
        return Placement(node=chosen, probabilities=probabilities, rank=rank)


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

    def decided(self, job: int) -> None:
        """Leave out row `job`, which the outlook gave to its node, and let the others aim anew."""
        node = int(self.node[job])
        self._delay_s[job], self.node[job] = -np.inf, WAITING  # nothing is as soon, and no node that changes is its
        delay_s = np.where(self._eligible[:, node], priced_delay_s(self._outlook, EVERY, node), np.inf)
        self._delays_s[:, node] = delay_s
        self._services_s[:, node] = priced_service_s(self._outlook, EVERY, node)
        self._aim(np.flatnonzero((self.node == node) | (delay_s <= self._delay_s)))

    def _aim(self, jobs: NDArray[np.int64]) -> None:
        node = self._delays_s[jobs].argmin(axis=1)
        self.node[jobs] = node
        self._delay_s[jobs] = self._delays_s[jobs, node]
        self.service_s[jobs] = self._services_s[jobs, node]


RULES: dict[str, Callable[..., Rule]] = {
    rule.name: rule
    for rule in (
        RandomPlacer,
        RoundRobinPlacer,
        WeightedRoundRobinPlacer,
        LocalOnlyPlacer,
        LeastBacklogPlacer,
        TwoChoicesPlacer,
        EarliestCompletionPlacer,
        PricedCompletionPlacer,
        JointCompletionPlacer,
    )
}
