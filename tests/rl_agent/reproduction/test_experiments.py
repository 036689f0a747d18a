from __future__ import annotations

import pytest

from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.reproduction.experiments import Experiment, experiments, quick_plan
from rl_agent.reproduction.learners import LEARNERS


@pytest.fixture
def of_the_paper() -> dict[str, Experiment]:
    return {experiment.name: experiment for experiment in experiments(OffloadingScenario())}


def test_the_papers_figures_are_there(of_the_paper: dict[str, Experiment]) -> None:
    assert list(of_the_paper) == [
        "curve-50",
        "curve-40",
        "curve-30",
        "n-servers",
        "n-tasks",
        "capacity",
        "max-image-steps",
        "denoising-steps",
        "ent-coef",
    ]


def test_a_sweep_varies_the_scenario_in_its_own_field_only(of_the_paper: dict[str, Experiment]) -> None:
    settings = of_the_paper["n-servers"].settings
    assert [setting.x for setting in settings] == [10, 15, 20, 25]
    assert [setting.scenario for setting in settings] == [OffloadingScenario(n_servers=n) for n in (10, 15, 20, 25)]


def test_a_sweep_of_a_learner_keeps_the_scenario(of_the_paper: dict[str, Experiment]) -> None:
    settings = of_the_paper["denoising-steps"].settings
    assert {setting.scenario for setting in settings} == {OffloadingScenario(n_tasks=40)}
    assert [setting.changes for setting in settings] == [{"n_denoising_steps": i} for i in (1, 3, 5, 8)]


def test_every_learner_of_every_figure_exists(of_the_paper: dict[str, Experiment]) -> None:
    for experiment in of_the_paper.values():
        assert set(experiment.learners) <= LEARNERS.keys()


def test_a_quick_plan_trains_two_seeds_from_the_one_given() -> None:
    assert quick_plan(7).seeds == (7, 8)
