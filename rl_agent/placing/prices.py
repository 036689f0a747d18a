"""What a placement costs the other jobs, as seconds on top of its own predicted delay.

Loading a model into a full memory evicts another one, which a later job will have to load again: the price is the
seconds of that load. A cross-entropy search in `EdgePlacement-v1` also tried prices that grow with the number of
WAITING jobs, and a price on the load itself. None was better on other seeds, and all had worse worst cases
(docs/edge_placement.md).

`congested_delay_s` also says what it costs to wait for a busy node while others are idle: whoever waits there makes the
next jobs wait there too, and no other node gets the model. Both matter while few jobs wait, and fade as jobs pile up.
"""

from __future__ import annotations

from typing import Any, TypeVar

from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.outlook import EVERY, Columns, Outlook, Rows

Pressure = TypeVar("Pressure", float, NDArray[Any])

PRESSURE_SCALE = 4.0
"""How fast idleness falls with the WAITING jobs for each node: to a fifth at one job."""
MAX_PRESSURE = 8.0
"""WAITING jobs for each node. In EdgePlacement-v1 2 % of the decisions exceed it at load 1, none at .9."""
LOAD_INVESTED = 0.5
"""Of a load at an idle fleet: the share that later jobs of the model have the good of. At 50 nodes .5 had 6 % less mean
delay than 0, at 10 nodes 0-5 %."""


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


def congested_delay_s(outlook: Outlook, job: Rows, node: Columns = EVERY) -> FloatArray:
    """(N,) the same in an idle fleet: waiting counts up to twice, and loading down to 1 - `LOAD_INVESTED`."""
    strays_s = outlook.arrival_s(job, node) - LOAD_INVESTED * outlook.load_s(job, node)
    cost_s: FloatArray = priced_delay_s(outlook, job, node) + idleness(min(outlook.pressure, MAX_PRESSURE)) * strays_s
    return cost_s


def idleness(pressure: Pressure) -> Pressure:
    """Return how idle a fleet is, from 1 to 0, by its WAITING jobs for each node; of arrays, one by one."""
    return 1.0 / (1.0 + PRESSURE_SCALE * pressure)
