"""When a job's result can be expected: predicted median and 90th percentile, in seconds from now."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.state.attempts import LiveAttempt
from planner.state.cluster import Cluster, LiveNode
from planner.state.jobs import LiveJob
from planner.state.waiting import WaitingJobs
from rl_agent.placing.estimates import NORMAL_P90
from rl_agent.placing.observation import Observation

WAITING_SPREAD_LOG = 0.5  # a guess: p90 is 1.9 times the median
MIN_SPREAD_LOG = 0.05  # no machine repeats itself better than that, however alike the last few jobs were


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Predicted seconds from now to the result."""

    p50_s: float
    p90_s: float


def eta_when_placed(observation: Observation, node: LiveNode, row: int, chosen: int, now: float) -> Eta:
    """Return the prediction for the job in `row`, about to be given to `node` (column `chosen`).

    The 90th percentile assumes that the time of what the node holds already and the job's own generation time are
    independent and normally distributed.
    """
    backlog_s = node.backlog_s(now)
    arrival_s = max(float(observation.transfer_in_s[row, chosen]), backlog_s)
    p50_s = arrival_s + float(observation.service_s[row, chosen] + observation.transfer_out_s[row, chosen])
    spread_log = max(float(observation.generation_log_std[row, chosen]), MIN_SPREAD_LOG)
    own_std_s = float(observation.generation_s[row, chosen]) * spread_log
    return Eta(p50_s=p50_s, p90_s=p50_s + NORMAL_P90 * math.hypot(own_std_s, node.backlog_std_s()))


def eta_when_held(node: LiveNode, attempt: LiveAttempt, now: float) -> Eta:
    """Return the prediction for an attempt that `node` holds, from what it does first and how far it is.

    The 90th percentile assumes independent and normally distributed times; transfers are not counted.
    """
    p50_s = node.backlog_s(now, until=attempt)
    return Eta(p50_s=p50_s, p90_s=p50_s + NORMAL_P90 * node.backlog_std_s(until=attempt))


def eta_when_waiting(cluster: Cluster, waiting: WaitingJobs, job: LiveJob, now: float) -> Eta | None:
    """Return a rough prediction for a WAITING job, None while no node is ready.

    Assumes that all waiting work comes first and is shared evenly by the ready nodes, which overestimates where the
    order is kinder. The 90th percentile assumes a log-normal spread of `WAITING_SPREAD_LOG`.
    """
    ready = sum(node.accepts_jobs for node in cluster.nodes.values())
    if ready == 0:
        return None
    estimates = cluster.estimates
    backlog_s = sum(node.backlog_s(now) for node in cluster.nodes.values() if node.accepts_jobs)
    ahead_s = estimates.fleet_generation_s(job.request.model, max(waiting.units - job.units, 0.0))
    p50_s = (backlog_s + ahead_s) / ready + estimates.fleet_generation_s(job.request.model, job.units)
    return Eta(p50_s=p50_s, p90_s=p50_s * math.exp(NORMAL_P90 * WAITING_SPREAD_LOG))
