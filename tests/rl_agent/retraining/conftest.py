from __future__ import annotations

import pytest
from logged_site import log_of

from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.placing.rules import RandomPlacer


def site(jobs_per_node=30, n_nodes=4, load=0.7, seed=3, n_models=2):
    """A small fleet without absences."""
    spec = ScenarioSpec(
        n_nodes=n_nodes,
        jobs_per_node=jobs_per_node,
        load=load,
        throttle_every_s=1e9,
        away_every_s=1e9,
        n_models=(n_models, n_models),
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
def simple():
    """A fleet with one model, where both completion rules are the same and nothing beats them by much."""
    return site(n_models=1, seed=7)


@pytest.fixture(scope="session")
def busy():
    """A fleet of two models at load .9, where the joint order takes two thirds of the planner's."""
    return site(seed=3, jobs_per_node=60, load=0.9)


@pytest.fixture(scope="session")
def favourable():
    """The same with other nodes, where the patient order is better than the planner's for certain."""
    return site(n_models=1, seed=24)


@pytest.fixture(scope="session")
def simple_log(simple):
    """The log of a placer that tries everything there."""
    return log_of(simple, RandomPlacer(seed=0))


@pytest.fixture(scope="session")
def long_simple():
    """A fleet of three models with jobs enough for the gate to tell that a better policy is better."""
    return site(n_models=3, seed=9, jobs_per_node=200)


@pytest.fixture(scope="session")
def long_simple_log(long_simple):
    """The log of a placer that tries everything there."""
    return log_of(long_simple, RandomPlacer(seed=0))


@pytest.fixture(scope="session")
def many_models_log():
    """The log of such a placer where models change all the time: the joint order takes less than half of the time."""
    return log_of(site(n_nodes=3, n_models=8, jobs_per_node=100, seed=2), RandomPlacer(seed=0))
