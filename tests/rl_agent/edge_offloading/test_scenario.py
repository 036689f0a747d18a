from __future__ import annotations

import numpy as np
import pytest

from rl_agent.edge_offloading.scenario import OffloadingScenario, between


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


@pytest.mark.parametrize("wrong", [{"n_servers": 0}, {"n_slots": 0}, {"max_image_steps": 1}, {"variant": "other"}])
def test_parameters_that_mean_nothing_are_refused(wrong: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OffloadingScenario(**wrong)  # type: ignore[arg-type]


def test_servers_stay_the_same_for_one_seed_and_not_for_another() -> None:
    first, again, other = (OffloadingScenario(server_seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.capacity, again.capacity)
    assert not np.array_equal(first.capacity, other.capacity)
    assert first.capacity.min() >= 10
    assert first.capacity.max() <= 50


def test_slots_yield_every_scheduled_task_once_and_in_order() -> None:
    tasks = OffloadingScenario(n_servers=3, n_tasks=4, n_slots=5).draw(2, np.random.default_rng(0))
    seen: list[list[int]] = [[], []]
    for t, slot in enumerate(tasks.slots()):
        for e in range(2):
            index = slot.index[e, slot.is_task[e]]
            seen[e] += index.tolist()
            assert (tasks.slot[e, index] == t).all()
    assert seen == [list(range(n)) for n in tasks.n_scheduled]


def test_an_overwritten_episode_is_the_other_one() -> None:
    scenario = OffloadingScenario(n_servers=3, n_tasks=4, n_slots=5)
    rng = np.random.default_rng(0)
    tasks, other = scenario.draw(2, rng).padded(), scenario.draw(1, rng)
    first = tasks.work[0].copy()
    tasks.overwrite(1, other)
    n = other.n_scheduled[0]
    assert tasks.n_scheduled[1] == n
    np.testing.assert_array_equal(tasks.work[1, :n], other.work[0, :n])
    np.testing.assert_array_equal(tasks.work[0], first)


def test_joined_arrivals_keep_every_episode() -> None:
    scenario = OffloadingScenario(n_servers=3, n_tasks=4, n_slots=5)
    parts = [scenario.draw(1, np.random.default_rng(seed)) for seed in range(3)]
    together = parts[0].joined(parts[1:])
    assert together.n_episodes == 3
    assert together.n_scheduled.tolist() == [part.n_scheduled[0] for part in parts]


def test_between_maps_the_unit_interval_to_the_bounds() -> None:
    np.testing.assert_allclose(between(np.array([0.0, 0.5, 1.0]), (2.0, 4.0)), [2.0, 3.0, 4.0])
