from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.rules import EarliestCompletionPlacer
from rl_agent.policy.learned_placer import LearnedPlacer

SEEDS = range(700_000, 700_004)


class Shuffled(LearnedPlacer):
    """The shipped policy with the backlogs of the nodes mixed up."""

    def place(self, observation):
        backlog_s = np.random.default_rng(0).permutation(observation.backlog_s)
        return super().place(replace(observation, backlog_s=backlog_s))


def total_s(make, **spec):
    specs = ScenarioSpec(jobs_per_node=40, load=0.9, **spec)
    return sum(Simulator(specs.draw(seed)).run(make()).mean() for seed in SEEDS)


@pytest.fixture(scope="module")
def learned_s():
    return total_s(LearnedPlacer, n_nodes=6)


def test_it_beats_earliest_completion_on_seeds_of_its_own(learned_s):
    assert learned_s < total_s(EarliestCompletionPlacer, n_nodes=6)


def test_it_reacts_to_backlog_for_mixing_it_up_costs_delay(learned_s):
    assert total_s(Shuffled, n_nodes=6) > 1.1 * learned_s
