"""Splits the twin's arrivals: the newest are held out for the gate; search, learning and validation get the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.twin import Twin

HELD_OUT_SHARE = 0.3
"""Newest share of the jobs that only the gate plays: it must see what the policy will meet next."""
PACES = (0.8, 1.25)
"""Range of the factor on the times between arrivals of an episode, so that the policy learns more than one load."""
TWIN_SEARCH_SEED = 5_000
"""First seed of the search's episodes. The four sets count from 0, 5,000, 10,000 and 20,000, so they share no noise."""
TWIN_VALIDATION_SEED = 10_000
"""First seed of the validations."""
TWIN_HELD_OUT_SEED = 20_000
"""First seed of the held-out scenarios of the gate."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The scenarios of one round.

    Attributes:
        validation: for the choice among the policies found.
        search: on which the random search compares policies.
        learning: episodes of the learner.
        held_out_jobs: how many of the newest arrivals are the gate's (`held_out_scenarios`).
    """

    validation: tuple[PlacementScenario, ...]
    search: tuple[PlacementScenario, ...]
    learning: tuple[PlacementScenario, ...]
    held_out_jobs: int


def split_arrivals(twin: Twin, plan: RetrainingPlan) -> Split:
    """Draw the scenarios of a round from the twin's jobs."""
    jobs = len(twin.jobs)
    held_out_jobs = min(int(jobs * HELD_OUT_SHARE), plan.held_out, jobs - 1)
    training_jobs = jobs - held_out_jobs
    generator = np.random.default_rng(plan.seed)

    def episodes(count: int, first_seed: int) -> tuple[PlacementScenario, ...]:
        seeds = range(first_seed, first_seed + count)
        return tuple(_episode(twin, training_jobs, plan.episode_jobs, generator, seed) for seed in seeds)

    return Split(
        validation=episodes(plan.validations, TWIN_VALIDATION_SEED),
        search=episodes(plan.searched, TWIN_SEARCH_SEED),
        learning=episodes(plan.episodes, 0),
        held_out_jobs=held_out_jobs,
    )


def held_out_scenarios(twin: Twin, plan: RetrainingPlan, newest: int) -> tuple[PlacementScenario, ...]:
    """Return the scenarios of the gate: the `newest` arrivals as often as planned, every second time throttling."""
    jobs = len(twin.jobs)
    return tuple(
        twin.scenario(jobs - newest, jobs, TWIN_HELD_OUT_SEED + n, throttles=n % 2 == 1) for n in range(plan.repeats)
    )


def _episode(
    twin: Twin, training_jobs: int, episode_jobs: int, generator: np.random.Generator, seed: int
) -> PlacementScenario:
    """Draw a stretch of the first `training_jobs` arrivals, a little faster or slower than they were."""
    length = min(episode_jobs, training_jobs)
    first = int(generator.integers(0, training_jobs - length + 1))
    pace = float(generator.uniform(*PACES))
    return twin.scenario(first, first + length, seed, pace=pace, throttles=seed % 2 == 1)
