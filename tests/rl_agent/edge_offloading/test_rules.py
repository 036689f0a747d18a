"""Rules without learning, by hand-worked examples and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from rl_agent.edge_offloading import pulls, rules
from rl_agent.edge_offloading.features import Column
from rl_agent.edge_offloading.scenario import Arrivals, OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, evaluation_arrivals, summarize


def two_servers(work: list[float]) -> Arrivals:
    """One slot, two servers of 1 and 2 Gcycles/s; all tasks arrive at server 0 and carry no data."""
    scenario = OffloadingScenario(n_servers=2, n_tasks=len(work), n_slots=1)
    scenario.__dict__["capacity"] = np.array([1.0, 2.0])
    n = len(work)
    zeros = np.zeros((1, n), dtype=np.int64)
    return Arrivals(
        scenario=scenario,
        slot=zeros,
        station=zeros,
        number=np.arange(n)[None],
        data_mbit=np.zeros((1, n)),
        work=np.array([work]),
        result_mbit=np.zeros((1, n)),
        offsets=np.array([[0, n, n]]),
    )


def test_greedy_by_hand() -> None:
    # 2 -> fast (1 s); 1 -> slow (1 s, fast would be 1.5); 1 -> fast (1.5 s, slow would be 2).
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0])), [[1.0, 1.0, 1.5]])


def test_greedy_shortest_first_by_hand() -> None:
    # 1 -> fast (.5); 1 -> fast or slow (1.0 both: the first, slow); 2 -> fast (1.5).
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0]), shortest_first=True), [[1.5, 0.5, 1.0]])


def test_greedy_with_a_weight_on_computing_by_hand() -> None:
    # At four times the computing time all prefer the fast server: 4 against 8, 1 + 2 against 4, 1.5 + 2 against 4.
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0]), computing_weight=4.0), [[1.0, 1.5, 2.0]])


def test_selfish_plan_by_hand() -> None:
    # The plan puts number 0, of mean work 1.536, on the fast server: number 1 expects to wait .768 s there. The 1.0
    # goes to the slow one (1.0 against 1.268), the 2.0 to the fast one (1.768 against 2.0), where it waits .5 s.
    for work, expected in ((1.0, [[0.5, 1.0]]), (2.0, [[0.5, 1.5]])):
        tasks = two_servers([1.0, work])
        np.testing.assert_allclose(rules.play_slot_rule(tasks, rules.selfish_plan), expected)


def test_shared_queue_by_hand() -> None:
    # Both idle: the first goes to server 0 (2 s), the second to 1 (.5 s), the third to 1, free at .5 (1.0 s).
    np.testing.assert_allclose(rules.shared_queue(two_servers([2.0, 1.0, 1.0])), [[2.0, 0.5, 1.0]])


def test_shared_queue_that_reserves_one_by_hand() -> None:
    # Four places are dealt in turn, 0 1 0 1: the third waits behind the first although server 1 is free sooner.
    np.testing.assert_allclose(
        rules.shared_queue(two_servers([2.0, 1.0, 1.0, 1.0]), reserved=1), [[2.0, 0.5, 3.0, 1.0]]
    )


def test_pooled_srpt_by_hand() -> None:
    # Speed 3: shortest first; the 6 is cut at the end of the second and goes on.
    tasks = two_servers([6.0, 1.0, 1.0])
    np.testing.assert_allclose(pulls.pooled_srpt(tasks), [[8 / 3, 1 / 3, 2 / 3]])


def test_levelling_shares_by_hand() -> None:
    # Levels 2 s and 0 s at speeds 1 and 2; 5 Gcycles lift both to 7/3 s.
    share = rules.levelling_shares(np.array([[2.0, 0.0]]), np.array([1.0, 2.0]), 5.0)
    np.testing.assert_allclose(share, [[1 / 15, 14 / 15]])


def test_smooth_turns_spread_servers_in_proportion() -> None:
    turns = rules.smooth_turns(np.array([1.0, 2.0]))
    assert sorted(turns) == [0, 1, 1]
    assert turns.tolist() == [1, 0, 1]


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
