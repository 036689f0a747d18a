from __future__ import annotations

import pytest
from planner_world import World
from policies import policy_files

from planner.ledger.ledger import Ledger
from rl_agent.policy import registry


@pytest.fixture
def world():
    """A planner, nobody else."""
    return World()


@pytest.fixture
def busy_world(tmp_path):
    """Two nodes that have made 40 images in 400 s, and a promotion in the middle."""
    world = World(ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"), node_timeout_s=1e6)
    for name in ("a", "b"):
        world.up(name, speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    for number in range(40):
        if number == 20:
            with world.ledger.transaction() as connection:
                registry.add_policy(connection, policy_files("v1"), world.clock.now())
                registry.promote(connection, "v1", world.clock.now())
        world.submit(f"job-{number}")
        world.clock.time_s += 10.0
        name = "a" if world.placed_on("a") else "b"
        world.start(name)
        world.finish(name, timings={"load_s": 1.0, "generation_s": 4.0})
        world.record()
    yield world
    world.ledger.close()
