from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.ordering import Precedence, order_key, share_step


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


def batch(jobs, share_step_s):
    """Return the observation of (priority, client, work) in a row; clients had 0, 5 and 10 s; only "m" is served."""
    had_s = {"ann": 0.0, "bob": 5.0, "eve": 10.0}
    views = [
        JobView(
            job=f"j{n}",
            model=model,
            units=1.0,
            priority=priority,
            client=client,
            client_had_s=had_s[client],
            work_s=work_s,
        )
        for n, (priority, client, work_s, model) in enumerate(jobs)
    ]
    nodes = [NodeView(node="a", backlog_s=0.0, room=1, models=frozenset("m"))]
    return observe(views, nodes, Estimates(), share_step_s=share_step_s)


def test_next_are_all_jobs_of_the_first_class_whose_clients_had_least():
    jobs = [(1, "ann", 8.0, "m"), (1, "ann", 1.0, "m"), (1, "bob", 1.0, "m"), (2, "ann", 1.0, "m")]
    precedence = Precedence(batch([*jobs, (0, "ann", 1.0, "never served")], share_step_s=0.0))
    assert precedence.open().tolist() == [True, True, False, False, False]
    precedence.decide(0)  # ann is at 8 s, bob at 5
    assert precedence.open().tolist() == [False, False, True, False, False]
    precedence.decide(2)
    precedence.decide(1)
    assert precedence.open().tolist() == [False, False, False, True, False]
    precedence.decide(3)
    assert not precedence.open().any()


one_job = st.tuples(
    st.integers(0, 2), st.sampled_from(["ann", "bob", "eve"]), st.floats(0.25, 8.0), st.sampled_from("mmmx")
)


@given(st.lists(one_job, min_size=1, max_size=12), st.sampled_from([0.0, 5.0, 10.0, math.inf]), st.data())
def test_whatever_is_chosen_no_class_and_no_share_is_passed_and_every_job_has_its_turn(jobs, step_s, data):
    seen = batch(jobs, step_s)
    precedence, had_s = Precedence(seen), {"ann": 0.0, "bob": 5.0, "eve": 10.0}
    left = [n for n, job in enumerate(jobs) if job[3] == "m"]
    while left:
        may_be_next = [n for n, is_open in enumerate(precedence.open()) if is_open]
        chosen = data.draw(st.sampled_from(may_be_next))
        priority, client, work_s, _ = jobs[chosen]
        assert priority == min(jobs[n][0] for n in left)
        others = [jobs[n][1] for n in left if jobs[n][0] == priority]
        assert share_step(had_s[client], step_s) == min(share_step(had_s[other], step_s) for other in others)
        precedence.decide(chosen)
        left.remove(chosen)
        had_s[client] += work_s
    assert not precedence.open().any()
