from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_agent.edge_offloading import pulls
from rl_agent.edge_offloading.scenario import Arrivals

Tasks = Callable[[list[float]], Arrivals]


def test_pooled_srpt_by_hand(two_servers: Tasks) -> None:
    # Speed 3: shortest first; the 6 is cut at the end of the second and goes on.
    tasks = two_servers([6.0, 1.0, 1.0])
    np.testing.assert_allclose(pulls.pooled_srpt(tasks), [[8 / 3, 1 / 3, 2 / 3]])


def test_the_shortest_waiting_task_is_pulled_first_and_waiting_adds_to_the_delay(two_servers: Tasks) -> None:
    # In the first second server 0 (1 Gcycle/s) starts a 1; server 1 (2 Gcycles/s) the other 1 and, after .5 s, the 2.
    # Then both are busy until the second ends. Server 0 is idle first: it takes the 6, which has waited for 1 s.
    tasks = two_servers([6.0, 1.0, 2.0, 1.0])
    np.testing.assert_allclose(pulls.ordered_pull(tasks, ageing_gcycles_per_s=0.0), [[7.0, 1.0, 1.5, 0.5]])
