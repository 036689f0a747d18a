from __future__ import annotations

import pytest
from planner_world import World


@pytest.fixture
def world():
    """A planner, nobody else."""
    return World()
