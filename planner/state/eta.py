"""When a job's result is foretold: seconds from now, by the running estimates.

What is promised to clients is corrected by what such predictions came to (`planner.calibration`).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.state.attempts import LiveAttempt
from planner.state.cluster import Cluster, LiveNode
from planner.state.jobs import LiveJob
from planner.state.waiting import WaitingJobs
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, Observation, observe


def foretold_when_placed_s(observation: Observation, row: int, column: int, backlog_s: float) -> float:
    """Return the seconds to the result of the job in `row`, about to be given to the node in `column`.

    Args:
        observation: what the placer saw.
        row: of the job.
        column: of the node.
        backlog_s: what the node still has, with the jobs it was given since.
    """
    arrival_s = max(float(observation.transfer_in_s[row, column]), backlog_s)
    return arrival_s + float(observation.service_s[row, column] + observation.transfer_out_s[row, column])


def foretold_while_held_s(node: LiveNode, attempt: LiveAttempt, now: float) -> float:
    """Return the seconds to the end of an attempt that `node` holds, from what it does first and how far it is."""
    return node.backlog_s(now, until=attempt)


def foretold_while_waiting_s(
    cluster: Cluster, waiting: WaitingJobs, job: LiveJob, *, window: float, now: float
) -> float | None:
    """Return the seconds to the result of a WAITING job, None while no node is ready."""
    ready = cluster.ready()
    if not ready:
        return None
    if len(waiting) <= 1:
        alone_s = foretold_alone_s(job.view(now), [node.view(window, now) for node in ready], cluster.estimates)
        if alone_s is not None:
            return alone_s
    ahead_s = max(waiting.work_s - job.work_s, 0.0)
    return foretold_behind_s([node.backlog_s(now) for node in ready], ahead_s=ahead_s, own_s=job.work_s)


def foretold_alone_s(job: JobView, nodes: Sequence[NodeView], estimates: Estimates) -> float | None:
    """Return the seconds to the result of the only WAITING job, on its best node; None if no node takes it."""
    observation = observe([job], nodes, estimates)
    eligible = observation.eligible[0]
    return float(observation.delay_s[0, eligible].min()) if eligible.any() else None


def foretold_behind_s(backlogs_s: Sequence[float], *, ahead_s: float, own_s: float) -> float:
    """Return the seconds to the result of a job behind others, as if all nodes shared the work evenly.

    Args:
        backlogs_s: what each ready node still has.
        ahead_s: predicted generation of the other WAITING jobs; all count, whatever the order.
        own_s: predicted generation of the job.
    """
    return (sum(backlogs_s) + ahead_s) / len(backlogs_s) + own_s
