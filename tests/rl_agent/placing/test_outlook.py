from __future__ import annotations

import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook


@pytest.fixture
def outlook():
    """Three jobs of 10 s, models m, m, k; node a has m, keeps one model and loads any in 5 s; b has room for two."""
    estimates = Estimates()
    for node in ("a", "b"):
        for model in ("m", "k"):
            estimates.observe_outcome(node, model, units=1.0, generation_s=1.0, load_s=5.0)
    jobs = [JobView(job=f"j{n}", model=model, units=10.0) for n, model in enumerate("mmk")]
    nodes = [
        NodeView(node="a", backlog_s=2.0, room=1, resident=("m",)),
        NodeView(node="b", backlog_s=0.0, room=2, resident=("k",), resident_limit=2),
    ]
    return Outlook(observe(jobs, nodes, estimates))


def test_the_delay_is_backlog_load_and_generation(outlook):
    assert outlook.delay_s(0) == pytest.approx([2.0 + 10.0, 5.0 + 10.0])


def test_a_taken_job_lengthens_the_backlog_and_leaves_its_model_in_memory(outlook):
    assert outlook.take(0, 1)
    assert outlook.backlog_s[1] == pytest.approx(15.0)
    assert outlook.delay_s(1)[1] == pytest.approx(25.0)
    assert outlook.room.tolist() == [1, 1]


def test_a_job_without_room_waits_for_the_node_and_is_counted_there(outlook):
    assert outlook.take(0, 0)
    assert not outlook.take(1, 0)
    assert outlook.backlog_s[0] == pytest.approx(22.0)
    assert outlook.room.tolist() == [0, 2]


def test_only_a_full_memory_evicts_and_what_it_evicts_is_the_least_recently_used(outlook):
    seconds, model = outlook.eviction(2)
    assert seconds == pytest.approx([5.0, 0.0])
    assert model[0] == outlook.observation.models.index("m")
    outlook.take(2, 0)
    assert outlook.load_s(0)[0] == pytest.approx(5.0)
    assert outlook.load_s(2)[0] == 0.0


def test_a_job_that_waits_for_a_node_takes_its_turn_there_but_no_place(outlook):
    outlook.wait_for(2, 0)
    assert outlook.backlog_s[0] == pytest.approx(2.0 + 5.0 + 10.0)
    assert outlook.load_s(0)[0] == pytest.approx(5.0)  # k has taken the place of m by then
    assert outlook.room.tolist() == [1, 2]


def test_a_node_can_begin_when_the_backlog_is_done_and_pressure_is_the_jobs_for_each_node(outlook):
    assert outlook.arrival_s(0) == pytest.approx([2.0, 0.0])
    assert outlook.pressure == pytest.approx(1.5)


def test_a_node_that_no_job_may_take_does_not_count_in_the_pressure():
    nodes = [NodeView(node="a", backlog_s=0.0, room=1), NodeView(node="b", backlog_s=0.0, room=1, accepts_jobs=False)]
    assert Outlook(observe([JobView(job="j", model="m", units=1.0)], nodes, Estimates())).pressure == 1.0
