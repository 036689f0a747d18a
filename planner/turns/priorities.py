"""A client changes the priority of jobs that wait: each is answered with the priority that it has, or why it stays."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from broker_config.bounds import ID
from broker_config.calls import SetPriority
from broker_config.errors import RequestRefusedError
from broker_config.messages import Event, EventKind, Failure, FailureKind, JobState, Priority
from planner.state.jobs import LiveJob
from planner.turns.core import Planner
from planner.turns.ownership import UNKNOWN_JOB, HeldTo, check_priority, may_know
from planner.turns.turn import Turn

logger = logging.getLogger(__name__)


def set_priority(planner: Planner, order: SetPriority, owner: HeldTo = None) -> None:
    """Change the priority of the jobs of `order` that are WAITING.

    Args:
        planner: that has them.
        order: names them, their priority, and the client that asks; of jobs that are not `owner`'s nothing is told.
        owner: that the sender is held to.
    """
    if not ID.fullmatch(order.client):
        raise RequestRefusedError(f"client: {order.client[:60]!r} is no name", "client")
    with planner.turn() as turn:
        jobs = planner.book.jobs
        rows = planner.ledger.jobs(turn.connection, [job for job in order.jobs if job not in jobs])
        for job_id in dict.fromkeys(order.jobs):
            live, row = jobs.get(job_id), rows.get(job_id)
            if not may_know(owner, live, row) or (live is None and row is None):
                turn.answer(order.client, Event(job=job_id, kind=EventKind.UNKNOWN, reason=UNKNOWN_JOB))
            elif live is not None:
                _set_one(planner, turn, live, order, owner)
            elif row is not None:
                turn.answer(order.client, _ended(row))


def _set_one(planner: Planner, turn: Turn, job: LiveJob, order: SetPriority, owner: HeldTo) -> None:
    wanted = Priority(order.priority)
    try:
        check_priority(planner.settings, wanted, owner)
    except RequestRefusedError as exc:
        logger.warning("refused a priority of job %s: %s", job.id, exc)
        failure = Failure(kind=FailureKind.BAD_REQUEST, message=str(exc))
        _stays(turn, job, order.client, str(exc), failure)
        return
    if job.state is not JobState.WAITING:
        _stays(turn, job, order.client, f"it is {job.state} on {job.node}: only a job that waits can be moved")
        return
    planner.book.set_priority(turn, job, wanted)
    if order.client not in (job.client, *job.listeners):
        turn.tell(job, EventKind.PRIORITY, only=order.client, priority=wanted)


def _stays(turn: Turn, job: LiveJob, client: str, reason: str, failure: Failure | None = None) -> None:
    turn.tell(job, EventKind.PRIORITY, only=client, priority=job.priority, reason=reason, failure=failure)


def _ended(row: Mapping[str, Any]) -> Event:
    return Event(
        job=row["id"],
        kind=EventKind.PRIORITY,
        state=JobState(row["state"]),
        priority=Priority(row["priority"]),
        reason=f"it is {row['state']}",
    )
