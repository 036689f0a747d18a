from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from policies import policy_files

from rl_agent.edge_placement.env import KEY_COLUMN
from rl_agent.policy.file import parse_policy
from rl_agent.policy.rows import STANDARD_GENERATION
from rl_agent.retraining.gate import PlannerSettings
from rl_agent.retraining.learner import ENVS, MAX_LATENESS, Learner
from rl_agent.retraining.samples import Samples, check_rows

PLANNER = PlannerSettings(window=2, ageing=2.0, lookahead=8)


@pytest.fixture
def samples(explored):
    return check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)])


@pytest.fixture
def policy():
    return parse_policy("v", policy_files("v", scale=0.3))


def learner(policy, scenario):
    return Learner(policy, [scenario], PLANNER, seed=0)


def changed(samples, **changes):
    """The samples, each of them with these changes."""
    kept = tuple(dataclasses.replace(sample, **changes) for sample in samples.kept)
    return Samples(kept=kept, refused={}, unfinished=0, last_id=samples.last_id)


def test_it_starts_as_the_served_policy(policy, scenario):
    for name, values in vars(learner(policy, scenario).weights).items():
        np.testing.assert_array_equal(values, getattr(policy.weights, name))


def test_logged_transitions_are_rewarded_with_how_much_later_than_predicted_they_were(policy, scenario, samples):
    # Given jobs that took 3 s longer than predicted at submit
    late = changed(samples, foretold_s=2.0, delay_s=5.0)
    # When they are added to the replay buffer
    learning = learner(policy, scenario)
    assert learning.add_experience(late, newest=10) == 10
    # Then each reward is minus 3 s, in standard seconds
    standard_s = scenario.middle_generation_s / STANDARD_GENERATION
    rewards = learning.model.replay_buffer.rewards[: 10 // ENVS]
    np.testing.assert_allclose(rewards, -3.0 / standard_s, rtol=1e-6)


def test_one_absurd_delay_is_bounded(policy, scenario, samples):
    first, *others = changed(samples, foretold_s=0.0, delay_s=2.0).kept
    absurd = dataclasses.replace(first, delay_s=80_000.0)
    learning = learner(policy, scenario)
    learning.add_experience(dataclasses.replace(samples, kept=(absurd, *others)), newest=len(samples.kept))
    standard_s = scenario.middle_generation_s / STANDARD_GENERATION
    assert learning.model.replay_buffer.rewards.min() == pytest.approx(-2.0 * MAX_LATENESS / standard_s)


def test_jobs_without_a_prediction_and_nodes_that_have_left_are_not_learnt_from(policy, scenario, samples):
    learning = learner(policy, scenario)
    assert learning.add_experience(changed(samples, foretold_s=None), newest=100) == 0
    assert learning.add_experience(changed(samples, node="left"), newest=100) == 0


def test_the_observation_in_the_buffer_is_the_logged_one(policy, scenario, samples):
    learning = learner(policy, scenario)
    learning.add_experience(samples, newest=len(samples.kept))
    logged = samples.kept[0].decision.rows
    seen = learning.model.replay_buffer.observations[0, 0]
    np.testing.assert_array_equal(seen[: len(logged), :KEY_COLUMN], logged)


def test_it_learns_until_it_is_told_to_stop(policy, scenario):
    learning = learner(policy, scenario)
    learning.learn(1_000, lambda decisions: decisions < 20)
    assert learning.model.num_timesteps == 20


def test_a_state_of_another_size_is_refused_and_nothing_of_it_is_loaded(policy, scenario):
    # Given the state of one learner, with one parameter of another shape
    first, second = learner(policy, scenario), learner(policy, scenario)
    state = {name: tensor + 1.0 for name, tensor in first.state().items()}
    name = next(name for name in state if name.startswith("critic"))
    damaged = {**state, name: state[name][:1]}
    before = {name: tensor.clone() for name, tensor in second.state().items()}
    # When another one is to take it
    assert not second.restore(damaged)
    # Then that one is as it was, and takes the whole state
    assert all((tensor == before[name]).all() for name, tensor in second.state().items())
    assert second.restore(state)
    assert all((tensor == state[name]).all() for name, tensor in second.state().items())


def test_the_critics_alone_can_be_restored(policy, scenario):
    first, second = learner(policy, scenario), learner(policy, scenario)
    state = {name: tensor + 1.0 for name, tensor in first.state().items()}
    assert second.restore(state, prefix="critic")
    for name, tensor in second.state().items():
        assert bool((tensor == state[name]).all()) is name.startswith("critic")
