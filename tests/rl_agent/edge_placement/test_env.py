from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rl_agent.edge_placement.env import KEY_COLUMN, EdgePlacementEnv
from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.rules import PatientCompletionPlacer
from rl_agent.policy.rows import COLUMN


def scenario(seed=3, n_nodes=4, jobs_per_node=20):
    return ScenarioSpec(n_nodes=n_nodes, jobs_per_node=jobs_per_node, load=0.9).draw(seed)


def play_the_score(env):
    """Play the highest score to the end; return observations, rewards and the last info."""
    observation, _ = env.reset()
    observations, rewards, over, info = [observation], [], False, {}
    while not over:
        eligible = observation[:, COLUMN["eligible"]] > 0
        action = np.where(eligible, observation[:, COLUMN["score"]], -np.inf).argmax()
        observation, reward, over, _, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.stack(observations), np.array(rewards), info


def test_gymnasium_accepts_it():
    check_env(EdgePlacementEnv(n_nodes=(3, 5), max_nodes=6, jobs_per_node=10), skip_render_check=True)


def test_the_score_played_greedily_is_patient_completion():
    env = EdgePlacementEnv(scenarios=[scenario()])
    _, _, info = play_the_score(env)
    np.testing.assert_allclose(info["delay_s"], Simulator(scenario()).run(PatientCompletionPlacer()), rtol=1e-9)


def test_the_rewards_add_up_to_minus_the_service_delays():
    _, rewards, info = play_the_score(EdgePlacementEnv(scenarios=[scenario()]))
    assert rewards.sum() == pytest.approx(-sum(info["delay_s"]))


def test_every_observation_lies_in_the_space_and_is_finite():
    env = EdgePlacementEnv(scenarios=[scenario()])
    observations, _, _ = play_the_score(env)
    assert all(env.observation_space.contains(observation) for observation in observations)
    assert np.isfinite(observations).all()


def test_rows_beyond_the_fleet_are_empty_and_never_eligible():
    observations, _, _ = play_the_score(EdgePlacementEnv(scenarios=[scenario(n_nodes=4)]))
    assert not observations[:, 4:, :KEY_COLUMN].any()


def test_a_reconsidered_job_keeps_its_key():
    observations, _, _ = play_the_score(EdgePlacementEnv(scenarios=[scenario()]))
    keys = observations[:-1, 0, KEY_COLUMN]
    assert len(np.unique(keys)) == len(scenario().jobs)
    assert len(keys) > len(scenario().jobs)


def test_foresight_charges_a_slow_node_at_once():
    # Given the same first decision, played by score and played against it
    rewards = []
    for choose in (np.argmax, np.argmin):
        env = EdgePlacementEnv(scenarios=[scenario()], reward="foresight")
        observation, _ = env.reset()
        rewards.append(env.step(choose(observation[:4, COLUMN["score"]]))[1])
    # Then the worse node is told apart by the very next reward
    assert rewards[0] > rewards[1]


def test_an_ineligible_node_leaves_the_job_waiting():
    env = EdgePlacementEnv(scenarios=[scenario()])
    env.reset()
    env.step(19)
    assert "job-000000" in {job.name for _, job in env.simulator.waiting}


def test_the_same_seed_gives_the_same_trajectory():
    env = EdgePlacementEnv(n_nodes=(3, 5), jobs_per_node=5)
    first, second = (env.reset(seed=4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_fleet_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="30 nodes does not fit max_nodes=20"):
        EdgePlacementEnv(n_nodes=(5, 30))


@pytest.mark.parametrize(
    "wrong", [{"n_nodes": (0, 0)}, {"loads": ()}, {"loads": (0,)}, {"arrivals": ("possion",)}, {"reward": "foresigt"}]
)
def test_arguments_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EdgePlacementEnv(**wrong)
