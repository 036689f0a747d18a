from __future__ import annotations

import pytest
from planner_world import World
from policies import policy_files

from planner.serving.served_policy import ServedPolicy
from rl_agent.policy import registry
from rl_agent.policy.file import write_policy


@pytest.fixture
def world(tmp_path):
    """A planner that serves `v0` of its settings; `v1` and `v2` are candidates."""
    write_policy(tmp_path, policy_files("v0"))
    world = World(ServedPolicy(tmp_path), window=1, node_timeout_s=1e6)
    with world.ledger.transaction() as connection:
        for version in ("v1", "v2"):
            registry.add_policy(connection, policy_files(version), world.clock.now())
    world.up("a", speeds={"tiny": {"load_s": 0.0, "s_per_unit": 1.0}}, resident=["tiny"])
    return world
