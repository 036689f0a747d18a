from __future__ import annotations

import math

from rl_agent.placing.ordering import order_key


def key(job, work_s, arrival_s, ageing, priority=0):
    return order_key(job=job, priority=priority, predicted_work_s=work_s, arrival_s=arrival_s, ageing=ageing)


def test_without_ageing_the_shortest_job_is_first():
    assert key("b", 1.0, 100.0, 0.0) < key("a", 2.0, 0.0, 0.0)


def test_with_infinite_ageing_the_first_to_come_is_first():
    assert key("b", 9.0, 1.0, math.inf) < key("a", 1.0, 2.0, math.inf)


def test_a_job_is_overtaken_only_by_jobs_that_come_less_than_its_extra_work_over_ageing_later():
    long = key("a", 10.0, 0.0, 2.0)
    assert key("b", 2.0, 3.9, 2.0) < long
    assert key("b", 2.0, 4.1, 2.0) > long


def test_priority_comes_before_work_and_the_job_id_breaks_ties():
    assert key("b", 9.0, 9.0, 1.0, priority=0) < key("a", 1.0, 1.0, 1.0, priority=1)
    assert key("a", 1.0, 1.0, 1.0) < key("b", 1.0, 1.0, 1.0)
