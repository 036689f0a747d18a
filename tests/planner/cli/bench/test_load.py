"""The nodes and the jobs of `ladle bench`."""

from __future__ import annotations

import pytest

from planner.cli.bench.load import FASTEST_S_PER_STEP, SPEED_RATIO, arrivals, emulated_nodes


def test_emulated_nodes_span_the_speed_ratio():
    speeds = [node.s_per_step for node in emulated_nodes(5)]
    assert speeds[0] == FASTEST_S_PER_STEP
    assert speeds[-1] == pytest.approx(SPEED_RATIO * FASTEST_S_PER_STEP)
    assert speeds == sorted(speeds)


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_arrivals_bring_the_asked_load_and_are_the_same_for_the_same_seed(load):
    nodes = emulated_nodes(5)
    jobs = arrivals(nodes, 4000, load, seed=3)
    steps_per_s = sum(1 / node.s_per_step for node in nodes)
    assert sum(job.image_steps for job in jobs) / jobs[-1].at_s == pytest.approx(load * steps_per_s, rel=0.06)
    assert jobs == arrivals(nodes, 4000, load, seed=3)
    assert jobs != arrivals(nodes, 4000, load, seed=4)
