from __future__ import annotations

import pytest

from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.split import held_out_scenarios, split_arrivals
from rl_agent.retraining.twin import fit_twin

PLAN = RetrainingPlan(searched=2, episode_jobs=40, episodes=3, validations=2, repeats=2)


@pytest.fixture
def twin(explored):
    return fit_twin(check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)]).kept)


def test_held_out_arrivals_are_not_learnt_from(twin):
    split = split_arrivals(twin, PLAN)
    played = held_out_scenarios(twin, PLAN, split.held_out_jobs)
    held_out = {job.name for scenario in played for job in scenario.jobs}
    learnt = {job.name for scenario in split.learning + split.search for job in scenario.jobs}
    learnt |= {job.name for scenario in split.validation for job in scenario.jobs}
    assert held_out
    assert not held_out & learnt


def test_the_newest_three_tenths_are_held_out_as_often_as_the_plan_says(twin):
    held_out = held_out_scenarios(twin, PLAN, split_arrivals(twin, PLAN).held_out_jobs)
    newest = [job.name for job in twin.jobs[-36:]]  # of 120
    assert [[job.name for job in scenario.jobs] for scenario in held_out] == [newest, newest]


def test_the_plan_bounds_how_many_jobs_are_held_out(twin):
    plan = RetrainingPlan(held_out=5, repeats=1)
    held_out = held_out_scenarios(twin, plan, split_arrivals(twin, plan).held_out_jobs)
    assert [job.name for job in held_out[0].jobs] == [job.name for job in twin.jobs[-5:]]


def test_every_second_scenario_has_nodes_that_throttle(twin):
    first, second = split_arrivals(twin, PLAN).validation
    assert not any(node.slowdowns for node in first.nodes)
    assert any(node.slowdowns for node in second.nodes)


def test_equal_seeds_split_alike(twin):
    assert split_arrivals(twin, PLAN) == split_arrivals(twin, PLAN)
