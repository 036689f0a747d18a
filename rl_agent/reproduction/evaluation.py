"""Paired evaluation in paper mode: learners and rules on the same fresh arrivals, never on training averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rl_agent.edge_offloading import pulls, rules
from rl_agent.edge_offloading.core import OffloadingCore, OffloadingDecision
from rl_agent.edge_offloading.features import Features, ObservationKind
from rl_agent.edge_offloading.scenario import Arrivals, FloatArray, OffloadingScenario

EVALUATION_BRANCH = 20_240_612  # any number that no training seed is followed by
Distortion = Literal["none", "zero", "shuffle"]
OffloadingRule = Callable[[Arrivals, np.random.Generator], FloatArray]


class Predictor(Protocol):
    """Anything that can be evaluated: it has stable-baselines3's ``predict``."""

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], Any]:
        """Return the actions and the next state."""
        ...


OFFLOADING_RULES: dict[str, OffloadingRule] = {
    "Opt-TS": lambda tasks, _: rules.greedy(tasks),
    "greedy, computing time x 4": lambda tasks, _: rules.greedy(tasks, computing_weight=4.0),
    "greedy, shortest first in slot": lambda tasks, _: rules.greedy(tasks, shortest_first=True),
    "shared queue, 0 reserved": lambda tasks, _: rules.shared_queue(tasks),
    "shared queue, 1 reserved": lambda tasks, _: rules.shared_queue(tasks, reserved=1),
    "shared queue, 4 reserved": lambda tasks, _: rules.shared_queue(tasks, reserved=4),
    "weighted round robin": lambda tasks, _: rules.play_slot_rule(tasks, rules.weighted_round_robin),
    "random by capacity": lambda tasks, rng: rules.play_slot_rule(tasks, rules.random_server(rng, by_capacity=True)),
    "round robin": lambda tasks, _: rules.play_slot_rule(tasks, rules.round_robin),
    "random": lambda tasks, rng: rules.play_slot_rule(tasks, rules.random_server(rng)),
    "local only": lambda tasks, _: rules.play_slot_rule(tasks, rules.local_only),
    "least backlog at slot start": lambda tasks, _: rules.play_slot_rule(tasks, rules.least_backlog),
    "common plan from slot start": lambda tasks, _: rules.play_slot_rule(tasks, rules.common_plan),
    "selfish plan from slot start": lambda tasks, _: rules.play_slot_rule(tasks, rules.selfish_plan),
    "water-filling from slot start": lambda tasks, rng: rules.play_slot_rule(tasks, rules.water_filling(rng)),
    "pull, w + 1 * arrival": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=1.0),
    "pull, w + 1.75 * arrival": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=1.75),
    "pull, w + 2 * arrival": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=2.0),
    "pull, w + 3 * arrival": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=3.0),
    "pull, w + 5 * arrival": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=5.0),
    "pull, shortest first": lambda tasks, _: pulls.ordered_pull(tasks, ageing_gcycles_per_s=0.0),
    "pooled SRPT (lower bound)": lambda tasks, _: pulls.pooled_srpt(tasks),
}
"""The rules of docs/reproduction/README.md by name; all others are compared with the first."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Service delays of one learner or rule, and its ratios to Opt-TS on the same tasks.

    Attributes:
        mean_s, p50_s, p95_s, p99_s: over all tasks of all episodes, seconds.
        mean_ratio, p50_ratio, p95_ratio, p99_ratio: these divided by those of Opt-TS.
        max_percentile_ratio: the largest ratio among the percentiles 5, 10, ... 95 and 99.
    """

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    mean_ratio: float
    p50_ratio: float
    p95_ratio: float
    p99_ratio: float
    max_percentile_ratio: float


def evaluation_arrivals(scenario: OffloadingScenario, seed: int, n_episodes: int) -> Arrivals:
    """Return arrivals that no training has seen, because their seed sequence has a branch of its own."""
    return scenario.draw(n_episodes, np.random.default_rng([seed, EVALUATION_BRANCH]))


def play(
    model: Predictor,
    arrivals: Arrivals,
    observation: ObservationKind,
    *,
    ageing_gcycles_per_s: float | None = None,
    deterministic: bool = True,
    state: Any = None,
    distortion: Distortion = "none",
    rng: np.random.Generator | None = None,
) -> FloatArray:
    """Play a frozen policy on given tasks.

    Args:
        model: the policy.
        arrivals: the tasks of E episodes, which are played in parallel.
        observation: the kind of observation that it sees.
        ageing_gcycles_per_s: c of the planner's order, or None for the paper's.
        deterministic: take the most probable server.
        state: the latent actions to start from; None for none.
        distortion: show backlogs of zero, or those of other servers, instead of the real ones. A policy that reacts to
            backlogs does worse then.
        rng: for shuffling.

    Returns:
        Service delays in seconds, shape (E, P); NaN where there is no task.
    """
    scenario, n_episodes = arrivals.scenario, arrivals.n_episodes
    core = OffloadingCore(scenario, n_episodes, ageing_gcycles_per_s)
    features = Features(scenario, observation, n_episodes)
    core.begin(arrivals)
    delays = np.full(arrivals.work.shape, np.nan)
    ended = np.zeros(n_episodes, dtype=np.bool_)
    rng = rng or np.random.default_rng(0)
    while not ended.all():
        now = core.decision()
        task, playing = now.task.copy(), np.flatnonzero(~ended)
        action, state = model.predict(features(distort(now, distortion, rng)), state, None, deterministic)
        delay, newly = core.step(action)
        delays[playing, task[playing]] = delay[playing]
        ended |= newly
    return delays


def distort(now: OffloadingDecision, distortion: Distortion, rng: np.random.Generator) -> OffloadingDecision:
    """Return the decision with its backlogs replaced by zeros, or permuted among the servers."""
    if distortion == "none":
        return now
    if distortion == "zero":
        zero = np.zeros_like(now.backlog)
        return replace(now, backlog=zero, backlog_slot_start=zero)
    order = rng.permutation(now.backlog.shape[1])
    return replace(now, backlog=now.backlog[:, order], backlog_slot_start=now.backlog_slot_start[:, order])


def summarize(delays: FloatArray, baseline: FloatArray) -> Summary:
    """Return the summary of ``delays`` beside ``baseline``, those of Opt-TS on the same tasks; both of shape (E, P)."""
    is_task = ~np.isnan(baseline)
    ours, theirs = delays[is_task], baseline[is_task]
    ranks = [*range(5, 100, 5), 99]
    ratios = dict(zip(ranks, np.percentile(ours, ranks) / np.percentile(theirs, ranks), strict=True))
    p50, p95, p99 = np.percentile(ours, [50, 95, 99])
    return Summary(
        mean_s=float(ours.mean()),
        p50_s=float(p50),
        p95_s=float(p95),
        p99_s=float(p99),
        mean_ratio=float(ours.mean() / theirs.mean()),
        p50_ratio=float(ratios[50]),
        p95_ratio=float(ratios[95]),
        p99_ratio=float(ratios[99]),
        max_percentile_ratio=float(max(ratios.values())),
    )
