"""Batches of jobs over unlike nodes, as Hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe

fleets = st.lists(
    st.tuples(st.floats(0, 30), st.integers(0, 3), st.sampled_from(["", "m", "k", "mk", "x"]), st.sampled_from([1, 2])),
    min_size=1,
    max_size=4,
)
queues = st.lists(
    st.tuples(st.sampled_from("mmkx"), st.floats(0.5, 40), st.floats(0, 300), st.floats(0, 90)), min_size=1, max_size=9
)


def a_batch(fleet, queue):
    """Return jobs of three models with pictures to move over nodes of different speed, link and memory."""
    estimates = Estimates()
    nodes = []
    for k, (backlog_s, room, resident, limit) in enumerate(fleet):
        for n, model in enumerate("mkx"):
            estimates.observe_outcome(f"n{k}", model, units=1.0, generation_s=0.5 + 0.7 * k, load_s=3.0 + 5.0 * n)
        nodes.append(
            NodeView(
                node=f"n{k}",
                backlog_s=backlog_s,
                room=room,
                resident=tuple(resident[:limit]),
                resident_limit=limit,
                models=frozenset("mk") if k % 2 else None,
            )
        )
    jobs = [
        JobView(job=f"j{n}", model=model, units=units, waited_s=waited_s, input_mbit=100 * input_s)
        for n, (model, units, waited_s, input_s) in enumerate(queue)
    ]
    return observe(jobs, nodes, estimates)
