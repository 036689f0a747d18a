"""Rules without learning, by hand-worked examples and against each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_agent.edge_offloading import rules
from rl_agent.edge_offloading.scenario import Arrivals

Tasks = Callable[[list[float]], Arrivals]


def test_greedy_by_hand(two_servers: Tasks) -> None:
    # 2 -> fast (1 s); 1 -> slow (1 s, fast would be 1.5); 1 -> fast (1.5 s, slow would be 2).
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0])), [[1.0, 1.0, 1.5]])


def test_greedy_shortest_first_by_hand(two_servers: Tasks) -> None:
    # 1 -> fast (.5); 1 -> fast or slow (1.0 both: the first, slow); 2 -> fast (1.5).
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0]), shortest_first=True), [[1.5, 0.5, 1.0]])


def test_greedy_with_a_weight_on_computing_by_hand(two_servers: Tasks) -> None:
    # At four times the computing time all prefer the fast server: 4 against 8, 1 + 2 against 4, 1.5 + 2 against 4.
    np.testing.assert_allclose(rules.greedy(two_servers([2.0, 1.0, 1.0]), computing_weight=4.0), [[1.0, 1.5, 2.0]])


def test_selfish_plan_by_hand(two_servers: Tasks) -> None:
    # The plan puts number 0, of mean work 1.536, on the fast server: number 1 expects to wait .768 s there. The 1.0
    # goes to the slow one (1.0 against 1.268), the 2.0 to the fast one (1.768 against 2.0), where it waits .5 s.
    for work, expected in ((1.0, [[0.5, 1.0]]), (2.0, [[0.5, 1.5]])):
        tasks = two_servers([1.0, work])
        np.testing.assert_allclose(rules.play_slot_rule(tasks, rules.selfish_plan), expected)


def test_shared_queue_by_hand(two_servers: Tasks) -> None:
    # Both idle: the first goes to server 0 (2 s), the second to 1 (.5 s), the third to 1, free at .5 (1.0 s).
    np.testing.assert_allclose(rules.shared_queue(two_servers([2.0, 1.0, 1.0])), [[2.0, 0.5, 1.0]])


def test_shared_queue_that_reserves_one_by_hand(two_servers: Tasks) -> None:
    # Four places are dealt in turn, 0 1 0 1: the third waits behind the first although server 1 is free sooner.
    np.testing.assert_allclose(
        rules.shared_queue(two_servers([2.0, 1.0, 1.0, 1.0]), reserved=1), [[2.0, 0.5, 3.0, 1.0]]
    )


def test_levelling_shares_by_hand() -> None:
    # Levels 2 s and 0 s at speeds 1 and 2; 5 Gcycles lift both to 7/3 s.
    share = rules.levelling_shares(np.array([[2.0, 0.0]]), np.array([1.0, 2.0]), 5.0)
    np.testing.assert_allclose(share, [[1 / 15, 14 / 15]])


def test_smooth_turns_spread_servers_in_proportion() -> None:
    turns = rules.smooth_turns(np.array([1.0, 2.0]))
    assert sorted(turns) == [0, 1, 1]
    assert turns.tolist() == [1, 0, 1]
