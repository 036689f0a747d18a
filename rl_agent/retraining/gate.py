"""The promotion gate: a candidate must not be worse than the policy that serves, nor than the best rule.

All of them place the same held-out real arrivals in the twin, with the same noise and the same throttling, so the
comparison is paired. Delays of neighbouring jobs are correlated, so the bootstrap draws blocks of consecutive jobs.
Off-policy estimates on the log are shown beside the verdict and do not influence it: they see one decision at a time
and cannot know what a placement costs the jobs that follow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.estimates import Estimates, FloatArray
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import (
    EarliestCompletionPlacer,
    JointCompletionPlacer,
    LeastBacklogPlacer,
    PricedCompletionPlacer,
)

RIVAL_RULES = (EarliestCompletionPlacer, PricedCompletionPlacer, LeastBacklogPlacer)
REORDERING_RULE = JointCompletionPlacer
"""It takes the jobs in the same order as a policy, which differs from it by its corrections only: often the two are
equal. The gate says how they compare, and whether it passes does not depend on it. Otherwise the older of two policies
would serve on because a third placer is better than both.
"""
BLOCK_JOBS = 20
"""Longer blocks would leave too few of them: 60 logged jobs hold out 18, 1,000 hold out 300.

The differences between priced and earliest completion still correlate at .03 (10 nodes, load .7), .14 (10, .9), .41
(5, .7) and .76 (5, .9) over 20 jobs: at a small busy site the interval is too narrow.
"""
RESAMPLES = 2_000
"""50 of them lie beyond each end of the interval, so another seed moves them by about 2 % of its width."""
CONFIDENCE = 0.95
"""The usual level; of 40 pure coincidences at most four may pass (tests)."""
MARGIN = 0.02
"""Non-inferiority margin. Without one, a policy exactly as good as its rival would pass half of the time at best."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ratio of a candidate's mean service delay to a rival's on the same jobs; below 1 the candidate is better.

    Attributes:
        low, high: bootstrap interval of `CONFIDENCE`.
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

    def __str__(self) -> str:
        return (
            f"{self.candidate_s:.2f} s against {self.rival_s:.2f} s of {self.rival} "
            f"({self.ratio:.3f}, {self.low:.3f} to {self.high:.3f})"
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the gate measured: the candidate against the policy that serves, the best rule and `REORDERING_RULE`."""

    jobs: int
    serving: Comparison
    best_rule: Comparison
    reordering_rule: Comparison

    @property
    def is_passed(self) -> bool:
        """True when the candidate may be promoted."""
        return not self.serving.is_worse and not self.best_rule.is_worse

    @property
    def reason(self) -> str:
        """Return the verdict in one sentence."""
        verdict = "passed the gate" if self.is_passed else "rejected at the gate"
        measured = f"{self.serving}; {self.best_rule}; {self.reordering_rule}"
        return f"{verdict}, {self.jobs} held-out jobs: {measured}{self._advice}"

    def to_json(self) -> dict[str, Any]:
        """Return what `PolicyRow.trial` keeps."""
        compared = (self.serving, self.best_rule, self.reordering_rule)
        return {"passed": self.is_passed, "jobs": self.jobs, **{one.rival: _rounded(one) for one in compared}}

    @property
    def _advice(self) -> str:
        rule = self.reordering_rule
        is_better = rule.low > 1.0 and rule.rival_s < self.serving.rival_s
        return f"; LADLE_PLACER={rule.rival} would do better than both policies" if is_better else ""


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """The planner's settings that decide which jobs the placer sees, and in which order; see `Simulator`."""

    window: float
    ageing: float
    lookahead: int


def play(placer: Placer, scenario: PlacementScenario, estimates: Estimates, planner: PlannerSettings) -> FloatArray:
    """(jobs,) service delays in seconds under `placer`, for a planner that starts with `estimates`."""
    simulator = Simulator(scenario, window=planner.window, ageing=planner.ageing, lookahead=planner.lookahead)
    simulator.estimates = copy.deepcopy(estimates)
    return simulator.run(placer)


def judge(
    candidate: Callable[[], Placer],
    serving: Callable[[], Placer],
    scenarios: Sequence[PlacementScenario],
    estimates: Estimates,
    planner: PlannerSettings,
) -> Trial:
    """Play every scenario under the candidate, the serving policy and the rules, and compare.

    Args:
        candidate: makes the candidate.
        serving: makes the placer that serves.
        scenarios: held-out arrivals; each gets a new placer.
        estimates: what the planner knows of the nodes.
        planner: the planner's settings.
    """

    def delays(make: Callable[[], Placer]) -> list[FloatArray]:
        return [play(make(), scenario, estimates, planner) for scenario in scenarios]

    mine = delays(candidate)
    by_rule: Mapping[str, list[FloatArray]] = {rule.name: delays(rule) for rule in RIVAL_RULES}
    best = min(by_rule, key=lambda name: float(np.concatenate(by_rule[name]).mean()))
    return Trial(
        jobs=sum(len(one) for one in mine),
        serving=compare("the serving policy", mine, delays(serving)),
        best_rule=compare(best, mine, by_rule[best]),
        reordering_rule=compare(REORDERING_RULE.name, mine, delays(REORDERING_RULE)),
    )


def first_to_pass(
    candidates: Sequence[Callable[[], Placer]],
    serving: Callable[[], Placer],
    scenarios: Sequence[PlacementScenario],
    estimates: Estimates,
    planner: PlannerSettings,
) -> tuple[int, Trial]:
    """Judge candidates in order until one passes; all but the first must also be better than the serving policy.

    Args:
        candidates: at least one, the preferred one first.
        serving: as in `judge`, like all that follow.
        scenarios: held-out arrivals.
        estimates: what the planner knows of the nodes.
        planner: the planner's settings.

    Returns:
        Index and trial of the candidate that passed, or of the first if none did.
    """
    first: Trial | None = None
    for index, candidate in enumerate(candidates):
        trial = judge(candidate, serving, scenarios, estimates, planner)
        if trial.is_passed and (index == 0 or trial.serving.ratio < 1.0):
            return index, trial
        first = first or trial
    assert first is not None
    return 0, first


def compare(rival: str, mine: Sequence[FloatArray], theirs: Sequence[FloatArray], seed: int = 0) -> Comparison:
    """Compare delays job by job.

    Args:
        rival: what the rival is called.
        mine: delays under the candidate, (jobs,) in order of arrival for each scenario.
        theirs: delays under the rival, likewise.
        seed: of the bootstrap.
    """
    blocks = np.array(
        [
            (m[start : start + BLOCK_JOBS].sum(), t[start : start + BLOCK_JOBS].sum())
            for m, t in zip(mine, theirs, strict=True)
            for start in range(0, len(m), BLOCK_JOBS)
        ]
    )
    generator = np.random.default_rng(seed)
    draws = blocks[generator.integers(0, len(blocks), (RESAMPLES, len(blocks)))].sum(axis=1)
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    jobs = sum(len(m) for m in mine)
    total = blocks.sum(axis=0)
    return Comparison(
        rival=rival,
        candidate_s=float(total[0] / jobs),
        rival_s=float(total[1] / jobs),
        ratio=float(total[0] / total[1]),
        low=float(low),
        high=float(high),
    )


def _rounded(comparison: Comparison) -> dict[str, Any]:
    values = asdict(comparison)
    del values["rival"]
    return {name: round(value, 4) for name, value in values.items()}
