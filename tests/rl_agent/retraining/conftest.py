from __future__ import annotations

import pytest
from logged_site import log_of

from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.placers import EarliestCompletionPlacer, RandomPlacer


def site(jobs_per_node=30, n_nodes=4, load=0.7, seed=3):
    """A small fleet without absences."""
    spec = ScenarioSpec(
        n_nodes=n_nodes, jobs_per_node=jobs_per_node, load=load, throttle_every_s=1e9, away_every_s=1e9, n_models=(2, 2)
    )
    return spec.draw(seed)


@pytest.fixture(scope="session")
def scenario():
    return site()


@pytest.fixture(scope="session")
def explored(scenario):
    """The log of a placer that tries everything."""
    return log_of(scenario, RandomPlacer(seed=0))


@pytest.fixture(scope="session")
def served(scenario):
    """The log of the rule most sites begin with."""
    return log_of(scenario, EarliestCompletionPlacer())
