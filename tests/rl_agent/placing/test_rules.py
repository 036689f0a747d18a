from __future__ import annotations

import numpy as np
import pytest
from batches import a_batch, fleets, queues
from hypothesis import given

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.joint_order import JOINT_AGEING, ageing_now
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.placer import WAITING, Placer
from rl_agent.placing.prices import congested_delay_s, priced_delay_s, priced_service_s
from rl_agent.placing.rules import RULES, JointCompletionPlacer, PatientCompletionPlacer, make_rule

SPEED_S = {"fast": 1.0, "slow": 4.0}


def observation(
    n_jobs, *, room=(2, 2), backlog_s=(0.0, 0.0), resident=(("m",), ("m",)), models=None, units=1.0, **of_jobs
):
    """Return `n_jobs` jobs over a node that takes 1 s a unit and one that takes 4 s; loads take 10 s."""
    estimates = Estimates()
    for node, seconds in SPEED_S.items():
        for model in ("m", "k"):
            estimates.observe_outcome(node, model, units=1.0, generation_s=seconds, load_s=10.0)
    models = models or ["m"] * n_jobs
    jobs = [
        JobView(job=f"j{n}", model=models[n], units=units, **{name: values[n] for name, values in of_jobs.items()})
        for n in range(n_jobs)
    ]
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


@pytest.mark.parametrize(("waited_s", "first"), [(0.0, 1), (17.9, 1), (18.0, 0)])
def test_joint_completion_runs_the_model_in_memory_first_until_another_has_waited_long_enough(waited_s, first):
    # on fast, k takes 10 s of loading, 1 s, and 10 s to load m again; m takes 1 s: 20 s less. One job waits
    # for each node: a second makes up for .3 x (1 + 19 / (1 + 6)) = 1.114 s, so that is worth 17.95 s of waiting
    seen = observation(2, models=["k", "m"], room=(1, 0), backlog_s=(0.0, 99.0), waited_s=(waited_s, 0.0))
    answer = JointCompletionPlacer(ageing=0.3).place(seen)
    assert answer.node[first] == 0
    assert answer.node[1 - first] == WAITING
    assert answer.in_order() == [first, 1 - first]


def test_joint_completion_waits_for_a_full_fast_node_and_goes_on_with_the_next_job():
    # both aim at fast (2 + 1 s, and then 3 + 1 s, as soon as slow with its 4 s)
    answer = JointCompletionPlacer().place(observation(2, room=(0, 2), backlog_s=(2.0, 0.0)))
    assert answer.node.tolist() == [WAITING, WAITING]
    assert answer.probabilities.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    answer = JointCompletionPlacer().place(observation(3, room=(0, 2), backlog_s=(2.0, 0.0)))
    assert answer.node.tolist() == [WAITING, WAITING, 1]


def test_joint_completion_chooses_within_class_and_share_only():
    seen = observation(3, models=["k", "m", "m"], room=(1, 0), backlog_s=(0.0, 99.0), priority=(0, 1, 1))
    assert JointCompletionPlacer().place(seen).node.tolist() == [0, WAITING, WAITING]


def test_patient_completion_gives_a_busy_node_its_next_job_once_it_is_nearly_free():
    # Given a job for slow while that still works for 3 s; a typical job takes 1 to 4 s
    early = observation(1, room=(0, 1), backlog_s=(99.0, 3.0))
    assert PatientCompletionPlacer().place(early).node.tolist() == [WAITING]
    assert JointCompletionPlacer().place(early).node.tolist() == [1]
    # When it is nearly free
    late = observation(1, room=(0, 1), backlog_s=(99.0, 0.4))
    assert PatientCompletionPlacer().place(late).node.tolist() == [1]


def test_patient_completion_does_not_queue_up_at_a_fast_node_while_a_slow_one_is_idle():
    # 2.5 + 1 s on fast, 4 s on slow: the 2.5 s count for more as long as hardly anybody waits
    seen = observation(1, room=(1, 1), backlog_s=(2.5, 0.0))
    assert PatientCompletionPlacer().place(seen).node.tolist() == [1]
    assert JointCompletionPlacer().place(seen).node.tolist() == [0]


def test_rules_in_the_joint_order_are_made_with_the_ageing_that_is_asked_for():
    assert [make_rule(name, 0.7).ageing for name in ("joint-completion", "patient-completion")] == [0.7, 0.7]
    assert make_rule("least-backlog", 0.7).name == "least-backlog"


@pytest.mark.parametrize(
    ("rule", "cost_s"), [(JointCompletionPlacer, priced_delay_s), (PatientCompletionPlacer, congested_delay_s)]
)
@given(fleet=fleets, queue=queues)
def test_rules_in_the_joint_order_answer_as_if_they_compared_all_pairs_each_time(rule, cost_s, fleet, queue):
    seen = a_batch(fleet, queue)
    answer = rule().place(seen)
    outlook, order, chosen = Outlook(seen), [], [WAITING] * len(queue)
    left = [job for job in range(len(queue)) if seen.eligible[job].any()]
    while outlook.room.any() and left:
        aims = [int(np.where(seen.eligible[job], cost_s(outlook, job), np.inf).argmin()) for job in left]
        costs_s = [
            priced_service_s(outlook, job)[node] - ageing_now(outlook.pressure, JOINT_AGEING) * seen.waited_s[job]
            for job, node in zip(left, aims, strict=True)
        ]
        best = int(np.argmin(costs_s))
        job, node = left.pop(best), aims[best]
        order.append(job)
        limit_s = 0.5 * seen.typical_generation_s + seen.transfer_in_s[job, node]
        if rule.is_patient and outlook.backlog_s[node] > limit_s:
            outlook.wait_for(job, node)
        elif outlook.take(job, node):
            chosen[job] = node
    assert answer.node.tolist() == chosen
    decided = int(answer.probabilities.any(axis=1).sum())
    assert answer.in_order()[:decided] == order[:decided]
    assert rule.is_patient or decided == len(order)
