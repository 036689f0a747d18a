"""The dynamics against a plain transcription of the paper's formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_agent.edge_offloading import pulls
from rl_agent.edge_offloading.core import OffloadingCore, service_delay
from rl_agent.edge_offloading.scenario import OffloadingScenario, Variant


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


def test_a_placement_on_a_server_without_room_is_refused() -> None:
    full = OffloadingCore(OffloadingScenario(n_servers=2, n_tasks=80, n_slots=2), 1, 1.0)
    full.begin(full.scenario.draw(1, np.random.default_rng(0)))
    first = np.zeros(1, dtype=np.int64)
    while full.decision().has_room[0, 0]:
        full.step(first)
    with pytest.raises(ValueError, match="without room"):
        full.step(first)


def test_tasks_of_another_number_of_episodes_are_refused() -> None:
    scenario = OffloadingScenario(n_servers=2, n_tasks=3, n_slots=2)
    with pytest.raises(ValueError, match="got tasks of 3 episodes, this core plays 2"):
        OffloadingCore(scenario, 2).begin(scenario.draw(3, np.random.default_rng(0)))


@pytest.mark.parametrize("ageing", [-1.0, float("nan")])
def test_an_ageing_that_orders_nothing_is_refused(ageing: float) -> None:
    with pytest.raises(ValueError, match="None or a number >= 0"):
        OffloadingCore(OffloadingScenario(), 1, ageing)


def test_a_replaced_episode_restarts_and_the_others_continue() -> None:
    # Given two episodes in which one task was placed
    scenario = OffloadingScenario(n_servers=2, n_tasks=4, n_slots=3)
    rng = np.random.default_rng(0)
    core = OffloadingCore(scenario, 2)
    core.begin(scenario.draw(2, rng))
    core.step(np.zeros(2, dtype=np.int64))
    before = core.decision().task.copy()
    # When the second one is replaced
    tasks = scenario.draw(1, rng)
    core.replace(1, tasks)
    # Then it is at its first task with no backlog, and the first one is where it was
    assert core.decision().task.tolist() == [before[0], 0]
    assert core.backlog[0, 0] > 0.0
    assert not core.backlog[1].any()
    assert core.decision().work[1] == tasks.work[0, 0]


def test_service_delay_by_hand() -> None:
    # 3 Gcycles ahead and 1 of work at 2 Gcycles/s; 5 Mbit result, and 10 Mbit input unless it stays, at 10 Mbit/s.
    scenario = OffloadingScenario(n_servers=2, n_tasks=1, n_slots=1)
    scenario.__dict__["capacity"], scenario.__dict__["rate"] = np.array([2.0, 2.0]), np.array([10.0, 10.0])
    tasks = scenario.draw(2, np.random.default_rng(0))
    tasks.work[:], tasks.result_mbit[:], tasks.data_mbit[:] = 1.0, 5.0, 10.0
    core = OffloadingCore(scenario, 2)
    core.begin(tasks)
    delay_s = service_delay(scenario, core.decision(), np.array([3.0, 3.0]), np.array([0, 1]))
    np.testing.assert_allclose(delay_s, [2.0 + 0.5, 2.0 + 0.5 + 1.0])
