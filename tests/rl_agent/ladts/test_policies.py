"""The memory of latent actions, and predictions from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th
from small_ladts import SCENARIO, SMALL, build, environment

from rl_agent.edge_offloading.features import layout
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.policies import D2SACPolicy, LADTSPolicy, SACTSPolicy

POLICIES = ["LADTSPolicy", "D2SACPolicy", "SACTSPolicy"]


@pytest.mark.parametrize("policy_class", [LADTSPolicy, D2SACPolicy, SACTSPolicy])
def test_policy_saves_and_loads_alone(policy_class: type[LADTSPolicy], tmp_path: Path) -> None:
    policy = build(policy_class.__name__).policy
    policy.save(str(tmp_path / "policy.pt"))
    loaded = policy_class.load(str(tmp_path / "policy.pt"), device="cpu")
    observation = environment().reset()
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], policy.predict(observation, deterministic=True)[0]
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_deterministic_prediction_draws_no_noise(policy: str) -> None:
    model = build(policy)
    observation = environment().reset()
    state = th.get_rng_state(), np.random.get_state()[1].copy()
    model.predict(observation, deterministic=True)
    assert th.equal(th.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])


def test_untrained_policy_plays_the_rule_its_scores_come_from() -> None:
    model = build(policy_kwargs={"latent_action": "score"})
    env = environment()
    observation = env.reset()
    for _ in range(30):
        actions, _ = model.predict(observation, deterministic=True)
        np.testing.assert_array_equal(actions, observation[..., 1].argmax(axis=1))
        observation, *_ = env.step(actions)


def test_state_carries_the_latent_action_of_the_same_key() -> None:
    model = build(policy_kwargs={"latent_action": "carried"})
    observation = environment().reset()
    _, memory = model.predict(observation)
    key = int(observation[0, 0, 2])
    assert memory.shape == (2, SCENARIO.n_slots * 4 * 5, 4)
    assert not np.isnan(memory[0, key]).any()
    assert np.isnan(np.delete(memory[0], key, axis=0)).all()
    start = model.policy.recall(memory, observation)
    np.testing.assert_array_equal(start, memory[:, key])


def test_episode_start_forgets_unless_told_to_keep() -> None:
    observation = environment().reset()
    for keep in (False, True):
        model = build(policy_kwargs={"latent_action": "carried", "keep_latents": keep})
        _, memory = model.predict(observation)
        later = observation.copy()
        later[..., 2] += 1
        _, memory = model.predict(later, memory, np.array([True, False]))
        key = int(observation[0, 0, 2])
        assert np.isnan(memory[0, key]).all() == (not keep)
        assert not np.isnan(memory[1, key]).any()


def test_predict_updates_the_memory_it_was_given() -> None:
    model = build(policy_kwargs={"latent_action": "carried"})
    memory = model.policy.new_memory(2)
    _, returned = model.predict(environment().reset(), memory)
    assert returned is memory
    assert np.isfinite(memory).any()


def test_shared_policy_serves_other_node_counts_with_the_same_weights() -> None:
    small, large = build(), None
    scenario = OffloadingScenario(n_servers=11, n_tasks=5, n_slots=3)
    env = EdgeOffloadingVecEnv(scenario, 2, "in_slot")
    large = LADTS("LADTSPolicy", env, policy_kwargs={"layout": layout(scenario, "in_slot"), **SMALL})
    large.policy.load_state_dict(small.policy.state_dict())
    assert large.predict(env.reset())[0].shape == (2,)
