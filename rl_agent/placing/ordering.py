"""The order in which WAITING jobs are put to the placer: priority class, then predicted work with ageing.

Shortest first alone starves long jobs. Ordering by `predicted work + ageing * arrival time` bounds that: a job can be
overtaken only by jobs that arrive less than (its work / ageing) seconds later. Ageing = infinity is first come, first
served; ageing = 0 is pure shortest first.

A placer may take the jobs of a batch in an order of its own, but never past a class or a fair share: it asks
`Precedence` who may be next.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.observation import Observation

OrderKey = tuple[int, float, str]


def order_key(*, job: str, priority: int, predicted_work_s: float, arrival_s: float, ageing: float) -> OrderKey:
    """Return the sort key of one job; the smallest key is served first.

    Args:
        job: id; breaks ties, so that the order is total (UUIDv7 ids are in order of arrival).
        priority: class, 0 is served first.
        predicted_work_s: seconds of generation on the median node.
        arrival_s: when it arrived, seconds on the planner's clock.
        ageing: seconds of work one second of waiting makes up for.
    """
    if math.isinf(ageing):
        return priority, arrival_s, job
    return priority, predicted_work_s + ageing * arrival_s, job


_Seconds = TypeVar("_Seconds", float, FloatArray)


def share_step(had_s: _Seconds, step_s: float) -> _Seconds:
    """Return the seconds of work that clients were given in whole steps of `step_s`, in which they count as equal.

    A step of 0 leaves them as they are.
    """
    return had_s // step_s if step_s else had_s


class Precedence:
    """Which jobs of a batch may be decided next: of the first class, those of the clients that had least.

    It charges each decided job to its client, as the planner does when it takes a batch. So whatever the order in which
    a placer takes the jobs that are open to it, no job is decided before one of a better class, nor one of a client
    that had more before one of a client that had less (in steps of `Observation.share_step_s`). Jobs that no node can
    serve hold up none.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._had_s = observation.client_had_s.copy()
        self._left = np.asarray(observation.eligible.any(axis=1))

    def open(self) -> NDArray[np.bool_]:
        """(J,) jobs of which any may be decided next; all false when every job is decided."""
        seen, left = self._observation, self._left
        if not left.any():
            return left
        of_class: NDArray[np.bool_] = left & (seen.priority == seen.priority[left].min())
        steps: FloatArray = share_step(self._had_s, seen.share_step_s)[seen.client]
        of_share: NDArray[np.bool_] = of_class & (steps == steps[of_class].min())
        return of_share

    def decide(self, job: int) -> None:
        """Note that row `job` is decided, whether it is placed or waits for a busy node."""
        self._left[job] = False
        self._had_s[self._observation.client[job]] += self._observation.work_s[job]
