from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.features import Column
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv

SMALL: dict[str, Any] = {"n_servers": 5, "n_tasks": 6, "n_slots": 4}


def test_parallel_episodes_equal_single_ones() -> None:
    """Given two lanes with seeds 11 and 12, then each plays what a single environment with its seed plays."""
    scenario = OffloadingScenario(**SMALL)
    lanes = EdgeOffloadingVecEnv(scenario, 2, "in_slot")
    lanes.seed(11)
    observation = lanes.reset()
    returns = np.zeros(2)
    results: dict[int, float] = {}
    while len(results) < 2:
        observation, reward, done, infos = lanes.step(observation[..., Column.SCORE].argmax(axis=1))
        returns += reward
        for e in np.flatnonzero(done):
            results.setdefault(int(e), infos[e]["episode"]["r"])
            assert infos[e]["TimeLimit.truncated"]
            assert infos[e]["terminal_observation"].shape == observation[e].shape
            assert observation[e, :, Column.BACKLOG_GCYCLES].max() == 0.0
    for e in range(2):
        tasks = scenario.draw(1, np.random.default_rng(11 + e))
        single = OffloadingCore(scenario, 1)
        single.begin(tasks)
        total, ended = 0.0, False
        while not ended:
            now = single.decision()
            elsewhere = now.station[:, None] != np.arange(scenario.n_servers)
            transfer = (now.result_mbit[:, None] + elsewhere * now.data_mbit[:, None]) / scenario.rate
            delay, over = single.step(((now.backlog + now.work[:, None]) / scenario.capacity + transfer).argmin(axis=1))
            total, ended = total - delay[0], bool(over[0])
        assert results[e] == pytest.approx(total, abs=1e-6)


def test_equal_seeds_reset_to_equal_episodes() -> None:
    first, second = (EdgeOffloadingVecEnv(OffloadingScenario(**SMALL), 2) for _ in range(2))
    for env in (first, second):
        env.seed(3)
    np.testing.assert_array_equal(first.reset(), second.reset())
    assert not np.array_equal(first.reset()[0], first.reset()[0])  # the seed is used once


def test_an_attribute_is_that_of_all_episodes_and_cannot_be_set_for_one() -> None:
    env = EdgeOffloadingVecEnv(OffloadingScenario(**SMALL), 3)
    assert env.get_attr("scenario", [0, 2]) == [env.scenario, env.scenario]
    with pytest.raises(NotImplementedError, match="scenario cannot be set"):
        env.set_attr("scenario", None, 1)


def test_a_monitor_is_built_in() -> None:
    env = EdgeOffloadingVecEnv(OffloadingScenario(**SMALL), 2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(VecNormalize) == [False, False]
