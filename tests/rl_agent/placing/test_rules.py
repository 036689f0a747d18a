from __future__ import annotations

import numpy as np
import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.placer import WAITING, Placer
from rl_agent.placing.rules import RULES

SPEED_S = {"fast": 1.0, "slow": 4.0}


def observation(n_jobs, *, room=(2, 2), backlog_s=(0.0, 0.0), resident=(("m",), ("m",)), models=None, units=1.0):
    """Return `n_jobs` jobs over a node that takes 1 s a unit and one that takes 4 s; loads take 10 s."""
    estimates = Estimates()
    for node, seconds in SPEED_S.items():
        for model in ("m", "k"):
            estimates.observe_outcome(node, model, units=1.0, generation_s=seconds, load_s=10.0)
    models = models or ["m"] * n_jobs
    jobs = [JobView(job=f"j{n}", model=models[n], units=units) for n in range(n_jobs)]
    nodes = [
        NodeView(node=node, backlog_s=backlog_s[k], room=room[k], resident=resident[k])
        for k, node in enumerate(SPEED_S)
    ]
    return observe(jobs, nodes, estimates)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_gives_a_node_more_than_it_has_room_for(name):
    placer: Placer = RULES[name](seed=1)
    answer = placer.place(observation(9, room=(1, 3)))
    placed = answer.node[answer.node != WAITING]
    assert (np.bincount(placed, minlength=2) <= [1, 3]).all()
    assert placer.policy_version is None


@pytest.mark.parametrize("name", RULES)
def test_probabilities_of_a_decided_job_sum_to_one(name):
    answer = RULES[name](seed=1).place(observation(3))
    decided = answer.probabilities.any(axis=1)
    assert answer.probabilities[decided].sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("name", RULES)
def test_nothing_is_placed_where_nothing_is_eligible(name):
    empty = observe([JobView(job="j", model="m", units=1.0)], [], Estimates())
    assert RULES[name](seed=1).place(empty).node.tolist() == [WAITING]


def test_earliest_completion_fills_the_fast_node_until_the_slow_one_is_sooner():
    # 1 s each on fast, 4 s on slow: the fifth job would be done at 5 s on fast and at 4 s on slow
    answer = RULES["earliest-completion"]().place(observation(5, room=(9, 9)))
    assert answer.node.tolist() == [0, 0, 0, 0, 1]


def test_earliest_completion_waits_for_a_full_fast_node_rather_than_take_an_idle_slow_one():
    answer = RULES["earliest-completion"]().place(observation(1, room=(0, 2), backlog_s=(2.0, 0.0)))
    assert answer.node.tolist() == [WAITING]
    assert answer.probabilities.tolist() == [[1.0, 0.0]]


def test_earliest_completion_knows_that_a_load_in_the_batch_serves_the_next_job_too():
    # k is nowhere: the first job loads it on fast (11 s); the second finds it there (12 s), not 14 s on slow
    answer = RULES["earliest-completion"]().place(observation(2, models=["k", "k"]))
    assert answer.node.tolist() == [0, 0]


def test_priced_completion_keeps_a_model_in_memory_for_a_few_seconds_of_delay():
    # k loads in 10 s anywhere: 11 s on fast, pushing out m (10 s to load again); 6 + 14 s on slow, pushing out nothing
    seen = observation(1, models=["k"], resident=(("m",), ()), backlog_s=(0.0, 6.0))
    assert RULES["earliest-completion"]().place(seen).node[0] == 0
    assert RULES["priced-completion"]().place(seen).node[0] == 1


def test_least_backlog_looks_at_backlog_alone():
    assert RULES["least-backlog"]().place(observation(1, backlog_s=(1.0, 0.5))).node.tolist() == [1]


def test_weighted_round_robin_gives_work_in_proportion_to_speed():
    answer = RULES["weighted-round-robin"]().place(observation(10, room=(10, 10)))
    assert np.bincount(answer.node).tolist() == [8, 2]


def test_round_robin_takes_turns():
    answer = RULES["round-robin"]().place(observation(4))
    assert answer.node.tolist() == [0, 1, 0, 1]


def test_two_choices_prefers_the_shorter_of_a_random_pair():
    probabilities = RULES["two-choices"](seed=0).place(observation(1, backlog_s=(5.0, 1.0))).probabilities
    assert probabilities.tolist() == [[0.0, 1.0]]
