from __future__ import annotations

import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.prices import priced_delay_s


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
