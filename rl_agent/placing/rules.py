"""The rules that choose a node without learning, by the names of `LADLE_PLACER`.

Only the rules of completion (and the learned placer) may let a job wait although some node has room, because a fast
node that is busy can still finish it sooner than a slow idle one. Of the rules, only `joint-completion` and
`patient-completion` choose which job is next; the others keep the planner's order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.joint_order import JOINT_AGEING, JointOrder
from rl_agent.placing.observation import Observation
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.placing.prices import priced_delay_s


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
    """Chooses job and node together: jobs in the joint order (`rl_agent.placing.joint_order`), each to where it aims.

    That is the node of least priced delay. A job whose node has no room waits for it.

    Args:
        seed: not used, it draws nothing.
        ageing: seconds of service that one second of waiting makes up for, at least.
    """

    name = "joint-completion"
    is_patient = False

    def __init__(self, seed: int | None = None, *, ageing: float = JOINT_AGEING) -> None:
        super().__init__(seed)
        self.ageing = ageing

    def place(self, observation: Observation) -> Placement:
        """Decide one job after another until no node has room; the remaining jobs stay WAITING."""
        chosen = np.full(len(observation.jobs), WAITING, dtype=np.int64)
        probabilities = np.zeros(observation.eligible.shape)
        order = JointOrder(Outlook(observation), self.ageing, is_patient=self.is_patient)
        for job in order:
            node = order.aim(job)
            probabilities[job, node] = 1.0
            if order.give(job, node):
                chosen[job] = node
        return Placement(node=chosen, probabilities=probabilities, rank=order.rank)


class PatientCompletionPlacer(JointCompletionPlacer):
    """Joint completion that gives a busy node its next job only once it is nearly free, and shuns waiting.

    The patient form of the joint order. What is decided later is decided better: the next job of the model in memory,
    or a shorter one, may have come by then.
    """

    name = "patient-completion"
    is_patient = True


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
        PatientCompletionPlacer,
    )
}


def make_rule(name: str, joint_ageing: float) -> Rule:
    """Return a new placer of this name; those that decide in the joint order do it with `joint_ageing`."""
    rule = RULES[name]()
    if isinstance(rule, JointCompletionPlacer):
        rule.ageing = joint_ageing
    return rule
