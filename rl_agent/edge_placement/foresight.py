"""Predicted cost of the work left: it shows the effect of a decision in the next reward instead of minutes later.

The cost is in job-seconds, as the service delays are. Attempts count by their prediction; WAITING jobs as if all nodes
shared the backlog and the work ahead of them evenly. `FUTURE_JOBS` job-seconds per second of backlog stand for the
jobs that will arrive while it lasts. Future model loads are left out: they are for the critic to learn.
"""

from __future__ import annotations

import numpy as np

from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.observation import Observation

FUTURE_JOBS = 0.3
"""Delay in seconds that one second of backlog causes to all later jobs together; set by hand."""


class Foresight:
    """Predicted job-seconds left while the jobs of one event are being placed.

    Args:
        simulator: at the event.
        observation: what the placer sees there.
        newcomers: names of the jobs that have arrived since the previous event.
    """

    def __init__(self, simulator: Simulator, observation: Observation, newcomers: set[str]) -> None:
        jobs = [job for _, job in simulator.waiting]
        self._nodes = max(int(observation.eligible.any(axis=0).sum()), 1)
        self._size_s = np.array([simulator.estimates.fleet_generation_s(job.model, job.units, job.n) for job in jobs])
        self._waits = np.ones(len(jobs), dtype=bool)
        self._is_new = np.array([job.name in newcomers for job in jobs], dtype=bool)
        self._attempts_s = simulator.attempts_left_s()
        self._backlog_s = float(observation.backlog_s.sum())

    def place(self, row: int, *, delay_s: float, busy_s: float) -> None:
        """Count job `row` as an attempt: its predicted delay is `delay_s`, its node's backlog grows by `busy_s`."""
        self._waits[row] = False
        self._attempts_s += delay_s
        self._backlog_s += busy_s

    def left_s(self, *, with_newcomers: bool = True) -> float:
        """Return the predicted job-seconds left, with or without those of the newcomers."""
        size_s = self._size_s[self._waits if with_newcomers else self._waits & ~self._is_new]
        jobs = len(size_s)
        ahead_s = float((size_s * np.arange(jobs - 1, -1, -1)).sum())
        waiting_s = (jobs * self._backlog_s + ahead_s) / self._nodes + float(size_s.sum())
        return self._attempts_s + waiting_s + FUTURE_JOBS * self._backlog_s
