from __future__ import annotations

import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.prices import LOAD_INVESTED, congested_delay_s, idleness, priced_delay_s


def test_a_node_whose_memory_is_full_costs_the_load_of_what_it_evicts():
    # Given a job of 10 s whose model k loads in 5 s, a node full with m, which loads in 7 s, and one with room for both
    estimates = Estimates()
    for node in ("full", "roomy"):
        estimates.observe_outcome(node, "k", units=1.0, generation_s=1.0, load_s=5.0)
        estimates.observe_outcome(node, "m", units=1.0, generation_s=1.0, load_s=7.0)
    nodes = [
        NodeView(node="full", backlog_s=0.0, room=1, resident=("m",), resident_limit=1),
        NodeView(node="roomy", backlog_s=0.0, room=1, resident=("m",), resident_limit=2),
    ]
    outlook = Outlook(observe([JobView(job="j", model="k", units=10.0)], nodes, estimates))
    # Then both take 15 s for it, and the first costs a later job 7 s more
    assert outlook.delay_s(0) == pytest.approx([15.0, 15.0])
    assert priced_delay_s(outlook, 0) == pytest.approx([22.0, 15.0])


@pytest.mark.parametrize(("waiting", "idle"), [(0, 1.0), (2, 0.2), (10**9, 1.0 / 33.0)])
def test_waiting_costs_more_and_loading_less_the_fewer_jobs_wait(waiting, idle):
    # Given a job of 10 s, a node that has its model and works for 6 s, and an idle one that loads for 5 s
    estimates = Estimates()
    for node in ("busy", "cold"):
        estimates.observe_outcome(node, "k", units=1.0, generation_s=1.0, load_s=5.0)
    nodes = [
        NodeView(node="busy", backlog_s=6.0, room=1, resident=("k",)),
        NodeView(node="cold", backlog_s=0.0, room=1),
    ]
    outlook = Outlook(observe([JobView(job="j", model="k", units=10.0)], nodes, estimates, waiting=waiting))
    # Then the 6 s count once more at an idle fleet, and half of the 5 s are an investment; both fade, up to a bound
    assert congested_delay_s(outlook, 0) == pytest.approx([16.0 + 6.0 * idle, 15.0 - LOAD_INVESTED * 5.0 * idle])


def test_a_fleet_is_idle_while_hardly_any_job_waits():
    assert [idleness(pressure) for pressure in (0.0, 1.0, 6.0)] == pytest.approx([1.0, 0.2, 0.04])
