from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.env import EdgeOffloadingEnv
from rl_agent.edge_offloading.features import (
    Column,
    Features,
    bounds,
    latent_key,
    layout,
    n_latent_keys,
    published_layout,
)
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.reproduction.evaluation import OFFLOADING_RULES

SMALL: dict[str, Any] = {"n_servers": 5, "n_tasks": 6, "n_slots": 4}


def test_slot_start_observation_does_not_see_what_was_placed_in_the_slot() -> None:
    for kind, sees in (("slot_start", False), ("in_slot", True)):
        env = EdgeOffloadingEnv(**SMALL, observation=kind)  # type: ignore[arg-type]
        env.reset(seed=1)
        observation, *_ = env.step(np.int64(0))
        assert (observation[0, Column.BACKLOG_GCYCLES] > 0) is np.bool_(sees)


def test_scores_in_the_observation_are_those_of_the_rules() -> None:
    scenario = OffloadingScenario(n_servers=6, n_tasks=10, n_slots=5)
    for kind, rule in (("in_slot", "Opt-TS"), ("slot_start", "common plan from slot start")):
        env = EdgeOffloadingVecEnv(scenario, 1, kind)  # type: ignore[arg-type]
        env.seed(9)
        observation, done, info = env.reset(), [False], [{}]
        while not done[0]:
            observation, _, done, info = env.step(observation[..., Column.SCORE].argmax(axis=1))
        tasks = scenario.draw(1, np.random.default_rng(9))
        expected = np.nanmean(OFFLOADING_RULES[rule](tasks, np.random.default_rng(0)))
        assert info[0]["mean_service_delay_s"] == pytest.approx(expected, abs=1e-6)


def test_columns_by_hand() -> None:
    # Given servers of 1 and 2 Gcycles/s and 10 Mbit/s with 4 Gcycles each; at the first a task of 2 Gcycles arrives
    scenario = OffloadingScenario(n_servers=2, n_tasks=1, n_slots=1)
    scenario.__dict__["capacity"], scenario.__dict__["rate"] = np.array([1.0, 2.0]), np.array([10.0, 10.0])
    tasks = scenario.draw(1, np.random.default_rng(0))
    tasks.work[:], tasks.result_mbit[:], tasks.data_mbit[:] = 2.0, 1.0, 3.0
    core = OffloadingCore(scenario, 1)
    core.begin(tasks)
    core.backlog[:] = 4.0
    # When it is observed
    first, second = Features(scenario, "in_slot", 1)(core.decision())[0]
    # Then it would take 4 + 2 + .1 s at the first server and 2 + 1 + .4 s at the second
    assert [first[Column.BACKLOG_10S], second[Column.BACKLOG_10S]] == pytest.approx([0.4, 0.2])
    assert [first[Column.SERVICE_S], second[Column.SERVICE_S]] == pytest.approx([2.0, 1.0])
    assert [first[Column.TRANSFER_S], second[Column.TRANSFER_S]] == pytest.approx([0.1, 0.4])
    assert [first[Column.EXCESS_S], second[Column.EXCESS_S]] == pytest.approx([2.7, 0.0], abs=1e-6)
    assert [first[Column.SCORE], second[Column.SCORE]] == pytest.approx([-10.0, 0.0], abs=1e-5)
    assert [first[Column.RELATIVE_CAPACITY], second[Column.RELATIVE_CAPACITY]] == pytest.approx([2 / 3, 4 / 3])


def test_each_slot_station_and_number_has_a_key_of_its_own() -> None:
    scenario = OffloadingScenario(**SMALL)
    core = OffloadingCore(scenario, 1)
    core.begin(scenario.draw(1, np.random.default_rng(0)))
    keys, ended = [], np.array([False])
    while not ended[0]:
        keys.append(int(latent_key(scenario, core.decision())[0]))
        _, ended = core.step(np.zeros(1, dtype=np.int64))
    assert len(set(keys)) == len(keys)
    assert 0 <= min(keys)
    assert max(keys) < n_latent_keys(scenario) == 5 * 6 * 4


def test_the_score_is_an_input_only_where_it_is_a_plan() -> None:
    scenario = OffloadingScenario(**SMALL)
    assert Column.SCORE not in layout(scenario, "in_slot").node
    assert Column.SCORE in layout(scenario, "slot_start").node
    assert published_layout(scenario).node == (Column.BACKLOG_GCYCLES,)


def test_bounds_have_one_row_per_server_and_leave_room_in_between() -> None:
    low, high = bounds(OffloadingScenario(**SMALL))
    assert low.shape == high.shape == (5, len(Column))
    assert (low < high).all()


def test_an_unknown_observation_is_refused() -> None:
    with pytest.raises(ValueError, match="'whole' is unknown"):
        Features(OffloadingScenario(**SMALL), "whole", 1)  # type: ignore[arg-type]
