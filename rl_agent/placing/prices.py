"""What a placement costs the other jobs, as seconds on top of its own predicted delay.

Loading a model into a full memory evicts another one, which a later job will have to load again: the price is the
seconds of that load. A cross-entropy search in `EdgePlacement-v1` also tried prices that grow with the number of
WAITING jobs, and a price on the load itself. None was better on other seeds, and all had worse worst cases
(docs/edge_placement.md).
"""

from __future__ import annotations

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.outlook import EVERY, Columns, Outlook, Rows


def priced_delay_s(outlook: Outlook, job: Rows, node: Columns = EVERY) -> FloatArray:
    """(N,) predicted delay of the job on each node plus what it costs the other jobs there, in seconds."""
    evicted_s, _ = outlook.eviction(job, node)
    cost_s: FloatArray = outlook.delay_s(job, node) + evicted_s
    return cost_s


def priced_service_s(outlook: Outlook, job: Rows, node: Columns = EVERY) -> FloatArray:
    """(N,) seconds for which the job keeps each node busy, plus what it costs the other jobs there."""
    evicted_s, _ = outlook.eviction(job, node)
    cost_s: FloatArray = outlook.service_s(job, node) + evicted_s
    return cost_s
