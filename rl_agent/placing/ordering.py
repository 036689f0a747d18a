"""The order in which WAITING jobs are put to the placer: priority class, then predicted work with ageing.

Shortest first alone starves long jobs. Ordering by `predicted work + ageing * arrival time` bounds that: a job can be
overtaken only by jobs that arrive less than (its work / ageing) seconds later. Ageing = infinity is first come, first
served; ageing = 0 is pure shortest first.
"""

from __future__ import annotations

import math

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
