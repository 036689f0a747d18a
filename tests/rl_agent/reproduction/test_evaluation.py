"""Paired evaluation: learners and rules on the same fresh arrivals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_agent.edge_offloading import pulls, rules
from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.features import Column
from rl_agent.edge_offloading.scenario import Arrivals, OffloadingScenario
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, distort, evaluation_arrivals, play, summarize

SMALL = OffloadingScenario(n_servers=4, n_tasks=6, n_slots=5)


class ScoreFollower:
    """Plays the rule in the observation's score column."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        return observation[..., Column.SCORE].argmax(axis=1), state


def test_playing_the_scores_equals_the_rules_task_by_task() -> None:
    tasks = evaluation_arrivals(SMALL, 5, 3)
    np.testing.assert_allclose(play(ScoreFollower(), tasks, "in_slot"), rules.greedy(tasks), atol=1e-6)
    plan = rules.play_slot_rule(tasks, rules.common_plan)
    np.testing.assert_allclose(play(ScoreFollower(), tasks, "slot_start"), plan, atol=1e-6)


def test_summary_of_opt_ts_beside_itself_is_one_everywhere() -> None:
    delays = rules.greedy(evaluation_arrivals(SMALL, 5, 2))
    summary = summarize(delays, delays)
    assert (summary.mean_ratio, summary.p99_ratio, summary.max_percentile_ratio) == (1.0, 1.0, 1.0)


def test_evaluation_arrivals_do_not_depend_on_training_and_do_on_their_seed() -> None:
    first, again, other = (evaluation_arrivals(SMALL, seed, 1) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.work, again.work)
    assert first.work.shape != other.work.shape or not np.array_equal(first.work, other.work)


def test_planners_order_is_played_to_the_end_where_a_task_fills_a_server_for_many_slots() -> None:
    scenario = OffloadingScenario(n_servers=2, n_tasks=3, n_slots=2, capacity_gcycles_s=(1, 1))
    tasks = evaluation_arrivals(scenario, 1, 20)
    delays = play(ScoreFollower(), tasks, "in_slot", ageing_gcycles_per_s=2.0)
    np.testing.assert_array_equal(np.isnan(delays), np.isnan(rules.greedy(tasks)))


@pytest.fixture(scope="module")
def episode() -> Arrivals:
    return evaluation_arrivals(OffloadingScenario(n_tasks=40, n_slots=25), 3, 3)


def test_every_rule_places_every_task_and_none_beats_the_bound(episode: Arrivals) -> None:
    bound = np.nanmean(pulls.pooled_srpt(episode)[episode.is_scheduled])
    for name, rule in OFFLOADING_RULES.items():
        delays = rule(episode, np.random.default_rng(0))
        assert not np.isnan(delays[episode.is_scheduled]).any(), name
        assert delays[episode.is_scheduled].mean() >= bound - 1e-9, name


def test_rules_rank_as_measured_at_load_near_one(episode: Arrivals) -> None:
    baseline = rules.greedy(episode)
    ratio = {
        name: summarize(rule(episode, np.random.default_rng(0)), baseline).mean_ratio
        for name, rule in OFFLOADING_RULES.items()
    }
    ranked = [
        "pooled SRPT (lower bound)",
        "pull, w + 2 * arrival",
        "pull, w + 5 * arrival",
        "greedy, computing time x 4",
        "Opt-TS",
        "shared queue, 4 reserved",
        "common plan from slot start",
        "weighted round robin",
        "random by capacity",
        "selfish plan from slot start",
        "random",
    ]
    assert [ratio[name] for name in ranked] == sorted(ratio[name] for name in ranked)


def test_percentiles_and_their_worst_ratio_by_hand() -> None:
    # All delays are twice those of Opt-TS, but for the longest, which is thrice: it is the worst percentile.
    baseline = np.arange(1.0, 101.0)[None]
    delays = 2.0 * baseline
    delays[0, -1] = 300.0
    summary = summarize(delays, baseline)
    assert summary.mean_s == pytest.approx(2.0 * 50.5 + 1.0)
    assert (summary.p50_ratio, summary.p95_ratio) == (2.0, 2.0)
    assert summary.max_percentile_ratio == summary.p99_ratio > 2.0


def test_padding_does_not_count() -> None:
    baseline = np.array([[1.0, 2.0, np.nan]])
    assert summarize(2.0 * baseline, baseline).mean_s == 3.0


def test_distorted_backlogs_are_zero_or_those_of_other_servers() -> None:
    core = OffloadingCore(SMALL, 1)
    core.begin(SMALL.draw(1, np.random.default_rng(0)))
    core.backlog[:] = [1.0, 2.0, 3.0, 4.0]
    now, rng = core.decision(), np.random.default_rng(0)
    assert distort(now, "none", rng) is now
    assert not distort(now, "zero", rng).backlog.any()
    shuffled = distort(now, "shuffle", rng).backlog
    assert sorted(shuffled[0]) == [1.0, 2.0, 3.0, 4.0]
    assert now.backlog.tolist() == [[1.0, 2.0, 3.0, 4.0]]
