from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rl_agent.edge_offloading.scenario import Arrivals, OffloadingScenario


def tasks_at_two_servers(work: list[float]) -> Arrivals:
    """One slot, two servers of 1 and 2 Gcycles/s; all tasks arrive at server 0 and carry no data."""
    scenario = OffloadingScenario(n_servers=2, n_tasks=len(work), n_slots=1)
    scenario.__dict__["capacity"] = np.array([1.0, 2.0])
    n = len(work)
    zeros = np.zeros((1, n), dtype=np.int64)
    return Arrivals(
        scenario=scenario,
        slot=zeros,
        station=zeros,
        number=np.arange(n)[None],
        data_mbit=np.zeros((1, n)),
        work=np.array([work]),
        result_mbit=np.zeros((1, n)),
        offsets=np.array([[0, n, n]]),
    )


@pytest.fixture
def two_servers() -> Callable[[list[float]], Arrivals]:
    """Makes the arrivals of hand-worked examples."""
    return tasks_at_two_servers
