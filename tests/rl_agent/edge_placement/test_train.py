from __future__ import annotations

import pytest

from rl_agent.edge_placement.train import TrainingPlan, mean_delays_s, train, validation_scenarios
from rl_agent.policy.learned_placer import LearnedPlacer


def test_training_leaves_a_policy_that_serves_and_says_how_it_was_made(tmp_path):
    # Given a plan too short to learn anything
    plan = TrainingPlan(
        warm_up_decisions=20,
        decisions=80,
        round_decisions=40,
        envs=2,
        hidden=8,
        validation_scenarios=2,
        jobs_per_node=4,
    )
    # When it is carried out
    card = train(plan, tmp_path)
    # Then the policy loads, and its card holds the plan and both rounds
    placer = LearnedPlacer(tmp_path)
    assert placer.policy_version == card.version
    assert card.training["seed"] == 0
    assert [r["decisions"] for r in placer.card.training["rounds"]] == [40, 80]
    assert placer.card.training["command"].endswith("--seed 0 --decisions 80 --nodes 3 20")
    assert (mean_delays_s(placer, validation_scenarios(plan)) > 0.0).all()


@pytest.mark.parametrize(("n_nodes", "sizes"), [((5, 20), {6, 9, 14}), ((3, 3), {3}), ((50, 50), {50})])
def test_policies_are_chosen_on_fleets_as_large_as_those_they_learn_on(n_nodes, sizes):
    scenarios = validation_scenarios(TrainingPlan(n_nodes=n_nodes, validation_scenarios=3, jobs_per_node=1))
    assert {len(scenario.nodes) for scenario in scenarios} == sizes
