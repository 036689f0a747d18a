"""What a node says, and what the planner's clock says."""

from __future__ import annotations

import pytest

from planner.state.said_times import KEPT, LATENCY_S, TOLERANCE, SaidTimes

NOW_S = 1000.0


class Node:
    """A node that works without a break, with two attempts on it at any time, as the planner sees it."""

    def __init__(self) -> None:
        self.said = SaidTimes(since=NOW_S)
        self.now_s = NOW_S
        self.held = [(NOW_S, 0.0)] * 2  # when each was placed, and what the node had said by then

    def do(self, takes_s: float, says_s: float) -> float:
        """One job; return how much longer it is taken to have lasted."""
        self.now_s += takes_s
        return self.hear(says_s)

    def hear(self, says_s: float) -> float:
        placed_at, total_s = self.held.pop(0)
        factor = self.said.compare(said_s=says_s, placed_at=placed_at, total_when_placed_s=total_s, now=self.now_s)
        self.held.append((self.now_s, self.said.total_s))
        return factor


@pytest.fixture
def node():
    return Node()


def test_a_node_that_says_what_the_clock_says_is_believed(node):
    assert [node.do(3.0, 3.0) for _ in range(20)] == [1.0] * 20
    assert node.said.factor == 1.0


def test_latency_is_not_held_against_a_node(node):
    assert [node.do(TOLERANCE * 0.1 + LATENCY_S / 2 - 0.01, 0.1) for _ in range(20)] == [1.0] * 20


def test_three_separate_findings_of_the_last_five_count(node):
    # two attempts are held at a time, so that every second one was held up by what is found already
    assert [node.do(5.0, 1.0) for _ in range(6)] == pytest.approx([1.0, 1.0, 1.0, 1.0, 5.0, 5.0])
    assert node.said.factor == pytest.approx(5.0)


def test_a_node_that_keeps_its_word_again_is_believed_again(node):
    for _ in range(10):
        node.do(5.0, 1.0)
    factors = [node.do(5.0, 5.0) for _ in range(KEPT)]
    assert factors[0] < 2.0  # it was placed while the node still did the job before
    assert factors[1:] == [1.0] * (KEPT - 1)
    assert node.said.factor == 1.0


def test_results_sent_in_pairs_hide_nothing(node):
    for _ in range(10):
        node.do(10.0, 1.0)
        node.do(0.0, 1.0)
    assert node.do(10.0, 1.0) == pytest.approx(5.0, rel=0.1)
    assert node.do(0.0, 1.0) == pytest.approx(5.0, rel=0.1)


def test_a_node_that_says_it_needs_nothing_is_measured_too(node):
    for _ in range(10):
        node.do(5.0, 0.0)
    assert node.said.factor > 1000.0


@pytest.mark.parametrize("held", [2, 10])
def test_a_cut_link_is_one_finding_however_many_attempts_the_node_holds(node, held):
    node.held *= held // 2
    for _ in range(20):
        node.do(3.0, 3.0)
    node.now_s += 600.0
    assert [node.hear(3.0) for _ in range(held)] == [1.0] * held
    assert sum(finding > 1.0 for finding in node.said.findings) == 1
    assert [node.do(3.0, 3.0) for _ in range(KEPT)] == [1.0] * KEPT
    assert set(node.said.findings) == {1.0}


def test_two_incidents_in_a_row_change_nothing(node):
    for pause_s in (600.0, 60.0):
        node.now_s += pause_s
        assert [node.do(3.0, 3.0) for _ in range(2)] == [1.0, 1.0]
    assert node.said.factor == 1.0


def test_what_was_placed_before_a_pause_of_the_planner_is_no_evidence(node):
    node.now_s += 600.0
    node.said.since = node.now_s
    assert node.do(3.0, 3.0) == 1.0
    assert set(node.said.findings) == {1.0}


def test_an_attempt_that_was_not_finished_is_no_evidence_by_the_next_one(node):
    begins_at = node.now_s
    node.now_s += 50.0
    node.held.pop(0)
    node.said.excuse(begins_at, node.now_s)
    node.said.excuse(None, node.now_s)
    assert node.do(3.0, 3.0) == 1.0
    assert set(node.said.findings) == {1.0}
