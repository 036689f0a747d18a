"""A node's drift alarm, from its outcomes to its ledger row."""

from __future__ import annotations

import pytest
from planner_world import World


def test_a_node_that_throttles_raises_an_alarm_that_survives_a_restart_and_ends():
    # Given a node that is well predicted
    world = World()
    world.up("a", speeds={"tiny": {"load_s": 0.0, "s_per_unit": 1.0}}, resident=["tiny"])

    def draw(number, factor):
        world.submit(f"job-{number}", request={"num_inference_steps": 10})
        world.start("a")
        world.clock.time_s += 1.0
        world.finish("a", timings={"generation_s": factor * 10 * 64 * 64 * 1e-6})
        world.record()

    def drift():
        with world.ledger.transaction(reads=True) as connection:
            return world.ledger.nodes(connection)[0]["drift"]

    for number in range(5):
        draw(number, 1.0)
    assert drift() == {}
    # When it throttles to a fifth
    for number in range(100, 103):
        draw(number, 5.0)
    # Then its row says so, after a restart too, until it has been predictable for a while
    assert drift()["tiny"]["factor"] == pytest.approx(5.0, rel=0.1)
    world.restart()
    world.report("a", resident=["tiny"])
    assert drift()["tiny"]["factor"] == pytest.approx(5.0, rel=0.1)
    for number in range(200, 260):
        draw(number, 5.0)
    assert drift() == {}
