"""The promotion gate: a candidate must not be worse than the policy that serves, and a rule that beats both serves.

All of them place the same held-out real arrivals in the twin, with the same noise and the same throttling, so the
comparison is paired. They are played scenario by scenario: when the time is over, the whole ones count. Delays of
neighbouring jobs are correlated, so intervals are those of batch means. Off-policy estimates on the log are shown
beside the verdict and do not influence it: they see one decision at a time and cannot know what a placement costs the
jobs that follow.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.estimates import Estimates, FloatArray
from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import (
    EarliestCompletionPlacer,
    JointCompletionPlacer,
    LeastBacklogPlacer,
    PatientCompletionPlacer,
    PricedCompletionPlacer,
    make_rule,
)
from rl_agent.retraining.budget import OutOfTimeError, Phase

RIVAL_RULES = (EarliestCompletionPlacer, PricedCompletionPlacer, LeastBacklogPlacer)
"""A candidate must not be worse than the best of them."""
ALL_RULES = (*RIVAL_RULES, JointCompletionPlacer, PatientCompletionPlacer)
"""The last takes the jobs in the same order as a policy, which differs from it by its corrections only: often the two
are equal. So these two reject nobody: the older of two policies would serve on because a third placer is better than
both. Where one is better for certain, it is promoted itself, as any of these.
"""
BATCHES = 10
"""Means of so many stretches of consecutive jobs make an interval, whatever their number: the longer the stretches, the
less their means are correlated."""
MIN_BATCH_JOBS = 20
"""Of a stretch, as long as there are at least `MIN_BATCHES`."""
MIN_BATCHES = 4
"""With fewer, Student's t is so wide that nothing could be told."""
STUDENT_T = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Quantile .975 by degrees of freedom, 0 to 9. Source: any table of Student's distribution."""
MARGIN = 0.02
"""Non-inferiority margin. Without one, a policy exactly as good as its rival would pass half of the time at best."""
MAX_RATIO = 1_000.0
"""Bound of an interval that is not bounded."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ratio of one placer's mean service delay to a rival's on the same jobs; below 1 it is better than the rival.

    Attributes:
        low, high: 95 % confidence interval by batch means.
    """

    rival: str
    candidate_s: float
    rival_s: float
    ratio: float
    low: float
    high: float

    @property
    def is_worse(self) -> bool:
        """True unless the ratio is at most 1 and the whole interval lies below 1 + `MARGIN`."""
        return self.ratio > 1.0 or self.high > 1.0 + MARGIN

    @property
    def is_better(self) -> bool:
        """True when the whole interval lies below 1."""
        return self.high < 1.0

    def __str__(self) -> str:
        return (
            f"{self.candidate_s:.2f} s against {self.rival_s:.2f} s of {self.rival} "
            f"({self.ratio:.3f}, {self.low:.3f} to {self.high:.3f})"
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the gate measured of a candidate: against the policy that serves, and against every rule by its name."""

    jobs: int
    serving: Comparison
    rules: Mapping[str, Comparison]

    @property
    def best_rule(self) -> Comparison:
        """Return the comparison with the best of `RIVAL_RULES`."""
        return min((self.rules[rule.name] for rule in RIVAL_RULES), key=lambda one: one.rival_s)

    @property
    def is_passed(self) -> bool:
        """True when the candidate may be promoted."""
        return not self.serving.is_worse and not self.best_rule.is_worse

    @property
    def reason(self) -> str:
        """Return the verdict in one sentence."""
        verdict = "passed the gate" if self.is_passed else "rejected at the gate"
        return f"{verdict}, {self.jobs} held-out jobs: {'; '.join(map(str, (self.serving, *self.rules.values())))}"

    def to_json(self) -> dict[str, Any]:
        """Return what `PolicyRow.trial` keeps."""
        compared = (self.serving, *self.rules.values())
        return {"passed": self.is_passed, "jobs": self.jobs, **{one.rival: _rounded(one) for one in compared}}


@dataclass(frozen=True, kw_only=True)
class RuleWin:
    """A rule that is better, for certain, than what serves and than the candidate that would serve instead.

    Attributes:
        beaten: the rule against each of them.
    """

    rule: str
    jobs: int
    beaten: tuple[Comparison, ...]

    @property
    def reason(self) -> str:
        """Return the verdict in one sentence."""
        return f"the rule {self.rule} wins at the gate, {self.jobs} held-out jobs: {'; '.join(map(str, self.beaten))}"

    def to_json(self) -> dict[str, Any]:
        """Return what `PolicyRow.trial` keeps."""
        return {"passed": True, "jobs": self.jobs, **{one.rival: _rounded(one) for one in self.beaten}}


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """The planner's settings that decide which jobs the placer sees, and in which order.

    `joint_ageing` is that of the joint order; the others are those of `Simulator`.
    """

    window: float
    ageing: float
    lookahead: int
    joint_ageing: float = JOINT_AGEING
    handover_s: float = 0.0


def play(
    placer: Placer,
    scenario: PlacementScenario,
    estimates: Estimates,
    planner: PlannerSettings,
    check: Callable[[], None] = lambda: None,
) -> FloatArray:
    """(jobs,) service delays in seconds under `placer`, for a planner that starts with `estimates`.

    Args:
        placer: to be asked.
        scenario: to be played.
        estimates: what the planner knows of the nodes; they are not changed.
        planner: its settings.
        check: called at each decision; what it raises ends the play.
    """
    simulator = Simulator(
        scenario,
        window=planner.window,
        ageing=planner.ageing,
        lookahead=planner.lookahead,
        handover_s=planner.handover_s,
    )
    simulator.estimates = copy.deepcopy(estimates)
    for observation in simulator.decisions():
        check()
        simulator.place(placer.place(observation))
    return np.array([simulator.delay_s[job.name] for job in scenario.jobs])


SERVING = "the serving policy"
"""What it is called in reasons."""
CANDIDATE = "the candidate"
"""Likewise, the one that would serve instead."""


class Gate:
    """Plays the held-out arrivals under whatever is to be compared.

    Args:
        serving: makes the placer that serves.
        candidates: make what may serve instead, the preferred one first.
        scenarios: held-out arrivals; each gets a new placer.
        estimates: what the planner knows of the nodes.
        planner: the planner's settings.
        phase: how long it may take; None: as long as it takes.

    Attributes:
        scenarios: how many were played to the end.
    """

    def __init__(
        self,
        serving: Callable[[], Placer],
        candidates: Sequence[Callable[[], Placer]],
        scenarios: Sequence[PlacementScenario],
        estimates: Estimates,
        planner: PlannerSettings,
        phase: Phase | None = None,
    ) -> None:
        self._estimates = estimates
        self._planner = planner
        self._phase = phase
        rules = [partial(make_rule, rule.name, planner.joint_ageing) for rule in ALL_RULES]
        makers: list[Callable[[], Placer]] = [serving, *rules, *candidates]
        played: list[list[FloatArray]] = []
        with suppress(OutOfTimeError):
            for number, scenario in enumerate(scenarios):
                played.append([self._play(make, scenario, number / len(scenarios)) for make in makers])
        self.scenarios = len(played)
        delays = [[one[column] for one in played] for column in range(len(makers))]
        self._serving_s = delays[0]
        self._rules_s = {rule.name: delays[1 + n] for n, rule in enumerate(ALL_RULES)}
        self._candidates_s = delays[1 + len(ALL_RULES) :]
        self._jobs = sum(len(one) for one in self._serving_s)

    def judge(self, candidate: int) -> Trial:
        """Compare a candidate with the serving policy and with the rules."""
        mine = self._candidates_s[candidate]
        rules = {name: compare(name, mine, theirs) for name, theirs in self._rules_s.items()}
        return Trial(jobs=self._jobs, serving=compare(SERVING, mine, self._serving_s), rules=rules)

    def first_to_pass(self) -> tuple[int, Trial]:
        """Judge candidates in order until one passes; all but the first must also be better than the serving policy.

        Returns:
            Index and trial of the candidate that passed, or of the first if none did.
        """
        first = self.judge(0)
        if first.is_passed:
            return 0, first
        for index in range(1, len(self._candidates_s)):
            trial = self.judge(index)
            if trial.is_passed and trial.serving.ratio < 1.0:
                return index, trial
        return 0, first

    def winning_rule(self, candidate: int | None = None) -> RuleWin | None:
        """Return the best rule if it is better, for certain, than the serving policy and than a `candidate`."""
        rule = min(self._rules_s, key=lambda name: float(np.concatenate(self._rules_s[name]).mean()))
        rivals = {SERVING: self._serving_s}
        if candidate is not None:
            rivals[CANDIDATE] = self._candidates_s[candidate]
        beaten = tuple(compare(name, self._rules_s[rule], theirs) for name, theirs in rivals.items())
        return RuleWin(rule=rule, jobs=self._jobs, beaten=beaten) if all(one.is_better for one in beaten) else None

    def _play(self, make: Callable[[], Placer], scenario: PlacementScenario, done: float) -> FloatArray:
        if self._phase is None:
            return play(make(), scenario, self._estimates, self._planner)
        self._phase.done = done
        return play(make(), scenario, self._estimates, self._planner, self._phase.check)


def compare(rival: str, mine: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> Comparison:
    """Compare delays job by job.

    The interval is that of a ratio of means by the delta method, on paired batch means with Student's t.

    Args:
        rival: what the rival is called.
        mine: delays under the candidate, (jobs,) in order of arrival for each scenario.
        theirs: delays under the rival, likewise.

    Source: A. M. Law, Simulation Modeling and Analysis, section 9.5.
    """
    sums = np.array([batch_sums(delays) for delays in (mine, theirs)])
    jobs = sum(len(one) for one in mine)
    mine_s, theirs_s = (sums.sum(axis=1) / jobs).tolist()
    ratio = mine_s / theirs_s
    differences = sums[0] - ratio * sums[1]
    batches = len(differences)
    half = 0.0
    if np.any(differences):
        error = float(np.sqrt((differences**2).sum() * batches / max(batches - 1, 1))) / float(sums[1].sum())
        half = min(STUDENT_T[batches - 1] * error, MAX_RATIO)
    return Comparison(
        rival=rival,
        candidate_s=mine_s,
        rival_s=theirs_s,
        ratio=ratio,
        low=max(ratio - half, 0.0),
        high=min(ratio + half, MAX_RATIO),
    )


def batch_sums(delays_s: Sequence[FloatArray]) -> FloatArray:
    """(batches,) sums of delays, at most `BATCHES`.

    Scenarios that replay the same arrivals are added up first: their delays differ by noise only, and to take them as
    independent would make an interval too narrow. Scenarios of different lengths are batches themselves.
    """
    lengths = {len(one) for one in delays_s}
    if len(lengths) > 1:
        groups = np.array_split(np.array([one.sum() for one in delays_s]), min(len(delays_s), BATCHES))
        return np.array([group.sum() for group in groups])
    batches = min(max(lengths.pop() // MIN_BATCH_JOBS, MIN_BATCHES), BATCHES)
    return np.array([part.sum() for part in np.array_split(np.sum(delays_s, axis=0), batches)])


def _rounded(comparison: Comparison) -> dict[str, Any]:
    values = asdict(comparison)
    del values["rival"]
    return {name: round(value, 4) for name, value in values.items()}
