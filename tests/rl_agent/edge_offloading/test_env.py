"""The paper-mode environment against a plain transcription of its formulas, and its Gymnasium contract."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from rl_agent.edge_offloading import pulls
from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.env import EdgeOffloadingEnv
from rl_agent.edge_offloading.features import Column, ObservationKind
from rl_agent.edge_offloading.scenario import OffloadingScenario, Variant
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv

SMALL: dict[str, Any] = {"n_servers": 5, "n_tasks": 6, "n_slots": 4}


def transcription(scenario: OffloadingScenario, tasks: Any, actions: list[int]) -> list[float]:
    """Step by step as in the paper: slots, stations, tasks."""
    f, r = scenario.capacity, scenario.rate
    q = [0.0] * scenario.n_servers
    delays, i = [], 0
    for t in range(scenario.n_slots):
        s = [0.0] * scenario.n_servers
        for b in range(scenario.n_servers):
            while tasks.slot[0, i] == t and tasks.station[0, i] == b:
                a, w = actions[i], tasks.work[0, i]
                delay = (q[a] + s[a]) / f[a] + w / f[a] + tasks.result_mbit[0, i] / r[a]
                if a != b:
                    delay += tasks.data_mbit[0, i] / r[a]
                s[a] += w
                delays.append(delay)
                i += 1
        for a in range(scenario.n_servers):
            q[a] = max(q[a] + s[a] - f[a] * 1.0, 0.0)
    return delays


@pytest.mark.parametrize("variant", ["paper", "published"])
def test_core_equals_a_plain_transcription_on_random_actions(variant: Variant) -> None:
    scenario = OffloadingScenario(n_servers=7, n_tasks=30, n_slots=12, variant=variant)
    rng = np.random.default_rng(3)
    tasks = scenario.draw(3, rng)
    actions = rng.integers(0, 7, tasks.work.shape)
    core = OffloadingCore(scenario, 3)
    core.begin(tasks)
    delays: list[list[float]] = [[], [], []]
    ended = np.zeros(3, dtype=bool)
    while not ended.all():
        task = core.decision().task.copy()
        delay, newly = core.step(actions[np.arange(3), task])
        for e in np.flatnonzero(~ended):
            delays[e].append(delay[e])
        ended |= newly
    for e in range(3):
        alone = type(tasks)(**{k: (v if k == "scenario" else v[e : e + 1]) for k, v in vars(tasks).items()})
        np.testing.assert_allclose(delays[e], transcription(scenario, alone, list(actions[e])), rtol=0, atol=1e-9)


def test_work_correlates_with_result_size_only_in_the_published_variant() -> None:
    rng = np.random.default_rng(0)
    for variant, low, high in (("paper", -0.1, 0.1), ("published", 0.9, 1.0)):
        scenario = OffloadingScenario(variant=variant, n_slots=5)  # type: ignore[arg-type]
        tasks = scenario.draw(1, rng)
        is_task = tasks.is_scheduled
        assert low <= np.corrcoef(tasks.work[is_task], tasks.result_mbit[is_task])[0, 1] <= high
        if variant == "published":
            assert len(np.unique(tasks.work[is_task])) == scenario.n_tasks


def test_draws_respect_the_papers_ranges() -> None:
    scenario = OffloadingScenario(n_slots=20)
    tasks = scenario.draw(2, np.random.default_rng(1))
    counts = np.diff(tasks.offsets, axis=1)
    assert 20 <= counts.min()
    assert counts.max() <= 20 * 50
    work = tasks.work[tasks.is_scheduled]
    assert 0.1024 <= work.min()
    assert work.max() <= scenario.max_work
    assert work.mean() == pytest.approx(scenario.mean_work, rel=0.02)
    assert scenario.load == pytest.approx(1.211, abs=1e-3)


def test_late_placement_in_core_is_the_ordered_pull() -> None:
    """Given the planner's order, when each task goes where it starts first, then it is a shared pull."""
    scenario = OffloadingScenario(n_servers=4, n_tasks=60, n_slots=8)
    tasks = scenario.draw(2, np.random.default_rng(5))
    core = OffloadingCore(scenario, 2, ageing_gcycles_per_s=2.0)
    core.begin(tasks)
    delays = np.full(tasks.work.shape, np.nan)
    ended = np.zeros(2, dtype=bool)
    while not ended.all():
        now = core.decision()
        task, playing = now.task.copy(), np.flatnonzero(~ended)
        start = np.where(now.has_room, now.backlog / scenario.capacity, np.inf)
        start[~now.has_room.any(axis=1)] = 0.0
        delay, newly = core.step(start.argmin(axis=1))
        delays[playing, task[playing]] = delay[playing]
        ended |= newly
    expected = pulls.ordered_pull(tasks, ageing_gcycles_per_s=2.0)
    np.testing.assert_allclose(delays, expected, rtol=0, atol=1e-9)
    assert np.nanmax(delays) > 1.0  # some tasks did wait beyond their slot


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


def test_slot_start_observation_does_not_see_what_was_placed_in_the_slot() -> None:
    for kind, sees in (("slot_start", False), ("in_slot", True)):
        env = EdgeOffloadingEnv(**SMALL, observation=kind)  # type: ignore[arg-type]
        env.reset(seed=1)
        observation, *_ = env.step(np.int64(0))
        assert (observation[0, Column.BACKLOG_GCYCLES] > 0) is np.bool_(sees)


def test_refused_placements_name_the_server() -> None:
    env = EdgeOffloadingEnv(**SMALL)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="out of range"):
        env.step(np.int64(5))
    full = OffloadingCore(OffloadingScenario(n_servers=2, n_tasks=80, n_slots=2), 1, 1.0)
    full.begin(full.scenario.draw(1, np.random.default_rng(0)))
    first = np.zeros(1, dtype=np.int64)
    while full.decision().has_room[0, 0]:
        full.step(first)
    with pytest.raises(ValueError, match="without room"):
        full.step(first)


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


def test_a_step_before_the_first_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        gym.make("EdgeOffloading-v0").unwrapped.step(0)
