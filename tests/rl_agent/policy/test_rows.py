from __future__ import annotations

import math

import numpy as np
import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.prices import MAX_PRESSURE, congested_delay_s
from rl_agent.policy.rows import COLUMN, PATIENT, PRICED, UNPRICED, PolicyInput, score, scored_by, standard_s

GENERATION_S = 8.0


def observation(*, waiting=None, room=(1, 1)):
    """Two jobs of 8 s, models m and k; node a is idle and full with m, b works for 4 s and has room for two models.

    Models load in 6 s. The last jobs took 8 s, so a standard second has two.
    """
    estimates = Estimates()
    for node in ("a", "b"):
        for model in ("m", "k"):
            estimates.observe_outcome(node, model, units=1.0, generation_s=GENERATION_S, load_s=6.0)
    jobs = [JobView(job=f"j{model}", model=model, units=1.0, waited_s=2.0) for model in "mk"]
    nodes = [
        NodeView(node="a", backlog_s=0.0, room=room[0], resident=("m",)),
        NodeView(node="b", backlog_s=4.0, room=room[1], resident=("m",), resident_limit=2),
    ]
    return observe(jobs, nodes, estimates, waiting=waiting)


def column(rows, name):
    return rows[:, COLUMN[name]].tolist()


def test_a_typical_job_takes_four_standard_seconds():
    assert standard_s(observation()) == pytest.approx(2.0)
    assert column(PolicyInput(observation()).rows(0), "generation") == pytest.approx([math.log1p(4.0)] * 2)


def test_durations_are_logarithms_of_standard_seconds():
    rows = PolicyInput(observation()).rows(1)
    assert column(rows, "backlog") == pytest.approx([0.0, math.log1p(2.0)])
    assert column(rows, "load") == pytest.approx([math.log1p(3.0)] * 2)
    assert column(rows, "waited") == pytest.approx([math.log1p(1.0)] * 2)
    assert column(rows, "least_delay") == pytest.approx([math.log1p(7.0)] * 2)
    assert column(rows, "excess_delay") == pytest.approx([0.0, math.log1p(2.0)])


def test_a_node_that_evicts_a_model_pays_for_it_in_the_cost_and_in_the_score():
    # Given job k, which evicts m from a: 3 standard seconds on top of 7, against 7 + 2 on b
    rows = PolicyInput(observation()).rows(1)
    assert column(rows, "evicted") == pytest.approx([math.log1p(3.0), 0.0])
    assert column(rows, "evicted_demand") == pytest.approx([0.5, 0.0])
    assert column(rows, "excess_cost") == pytest.approx([math.log1p(1.0), 0.0])
    assert column(rows, "score") == pytest.approx([-1.0 / (0.05 * 7.0 + 0.25), 0.0], rel=1e-5)


def test_a_job_sees_what_the_job_before_it_took():
    policy_input = PolicyInput(observation())
    before = policy_input.rows(1)
    policy_input.outlook.take(0, 0)
    after = policy_input.rows(1)
    assert column(before, "has_room") == [1.0, 1.0]
    assert column(after, "has_room") == [0.0, 1.0]
    assert column(before, "is_idle") == [1.0, 0.0]
    assert column(after, "is_idle") == [0.0, 0.0]
    assert column(after, "backlog") == pytest.approx([math.log1p(4.0), math.log1p(2.0)])


def test_pressure_is_the_jobs_that_wait_for_each_node_up_to_a_bound():
    assert column(PolicyInput(observation(waiting=6)).rows(0), "pressure") == pytest.approx([math.log1p(3.0)] * 2)
    assert column(PolicyInput(observation(waiting=900)).rows(0), "pressure") == pytest.approx(
        [math.log1p(MAX_PRESSURE)] * 2
    )


def test_no_more_jobs_are_asked_about_than_there_is_room_for():
    policy_input = PolicyInput(observation(room=(1, 0)))
    asked = []
    for job in policy_input.order:
        asked.append(job)
        policy_input.order.give(job, 0)
    assert asked == [0]


def test_a_score_falls_by_one_for_each_twentieth_of_the_least_delay_and_a_floor_and_ends_at_its_bound():
    assert score(np.array([0.0, 0.75, 7.5, 1e9]), 10.0).tolist() == pytest.approx([0.0, -1.0, -10.0, -10.0])


def test_the_score_without_prices_is_that_of_the_delays():
    rows = PolicyInput(observation()).rows(1)
    assert scored_by(PRICED, rows) is rows
    unpriced = scored_by(UNPRICED, rows)
    assert column(unpriced, "score") == pytest.approx([0.0, -2.0 / (0.05 * 7.0 + 0.25)], rel=1e-5)
    np.testing.assert_array_equal(np.delete(unpriced, COLUMN["score"], 1), np.delete(rows, COLUMN["score"], 1))


@pytest.mark.parametrize("waiting", [0, 3, 900])
def test_the_patient_score_is_that_of_the_congested_delays(waiting):
    policy_input = PolicyInput(observation(waiting=waiting))
    scored = scored_by(PATIENT, np.stack([policy_input.rows(job) for job in range(2)]))
    for job, rows in enumerate(scored):
        cost = congested_delay_s(policy_input.outlook, job)
        assert column(rows, "score") == pytest.approx(
            score(cost - cost.min(), policy_input.outlook.delay_s(job).min()).tolist(), rel=1e-4, abs=1e-5
        )


def test_a_node_that_may_not_be_chosen_is_not_the_best_one_of_the_patient_score():
    rows = PolicyInput(observation()).rows(1)
    best = int(np.argmax(scored_by(PATIENT, rows)[:, COLUMN["score"]]))
    rows[best, COLUMN["eligible"]] = 0.0
    assert scored_by(PATIENT, rows)[1 - best, COLUMN["score"]] == 0.0
