from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from rl_agent.edge_offloading.env import EdgeOffloadingEnv
from rl_agent.edge_offloading.features import Column, ObservationKind

SMALL: dict[str, Any] = {"n_servers": 5, "n_tasks": 6, "n_slots": 4}


@pytest.mark.filterwarnings("ignore:Your observation  has an unconventional shape")
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"observation": "in_slot"},
        {"variant": "published"},
        {"observation": "in_slot", "ageing_gcycles_per_s": 3.0, "server_seed": 1},
    ],
)
def test_environment_passes_both_checkers(kwargs: dict[str, Any]) -> None:
    env = gym.make("EdgeOffloading-v0", **SMALL, **kwargs).unwrapped
    check_env(env)
    check_env_sb3(env)


def rollout(env: EdgeOffloadingEnv, seed: int) -> tuple[list[np.ndarray], list[float], bool, bool]:
    observation, _ = env.reset(seed=seed)
    observations, rewards, terminated, truncated = [observation], [], False, False
    while not (terminated or truncated):
        best = np.int64(observation[:, Column.SCORE].argmax())
        observation, reward, terminated, truncated, _ = env.step(best)
        observations.append(observation)
        rewards.append(reward)
    return observations, rewards, terminated, truncated


def test_same_seed_gives_the_same_trajectory_and_another_seed_does_not() -> None:
    first, second, other = (rollout(EdgeOffloadingEnv(**SMALL), seed) for seed in (4, 4, 5))
    assert first[1] == second[1]
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] != other[1]


def test_papers_order_is_truncated_and_shows_the_slot_that_follows() -> None:
    env = EdgeOffloadingEnv(**SMALL)
    observations, _, terminated, truncated = rollout(env, 2)
    assert (terminated, truncated) == (False, True)
    assert env.core.slot[0] == SMALL["n_slots"]
    assert observations[-1][0, Column.WORK_GCYCLES] > 0


def test_planners_order_terminates_when_everything_is_placed() -> None:
    env = EdgeOffloadingEnv(n_servers=2, n_tasks=80, n_slots=3, observation="in_slot", ageing_gcycles_per_s=1.0)
    _, rewards, terminated, truncated = rollout(env, 2)
    assert (terminated, truncated) == (True, False)
    assert len(rewards) == env.core.tasks.n_scheduled[0]
    assert env.core.slot[0] > 3


@pytest.mark.parametrize("kind", ["slot_start", "in_slot"])
def test_observations_stay_within_the_declared_bounds(kind: ObservationKind) -> None:
    env = EdgeOffloadingEnv(**SMALL, observation=kind)
    observations, *_ = rollout(env, 8)
    assert all(env.observation_space.contains(observation) for observation in observations)


def test_a_server_that_does_not_exist_is_refused() -> None:
    env = EdgeOffloadingEnv(**SMALL)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="out of range"):
        env.step(np.int64(5))


def test_a_step_before_the_first_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        gym.make("EdgeOffloading-v0").unwrapped.step(0)
