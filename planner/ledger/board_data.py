"""What the gateway's page shows of the ledger, in few and light statements: it is read again every second.

A job's request may hold a picture of a megabyte, so what is told of jobs (`JobFacts`) is taken out of it by the
database, once for each job (`planner.gateway.page.board`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlmodel import col

from broker_config.messages import DELAY_PARTS, JobState
from planner.ledger.ledger import MAX_PARAMETERS, LedgerRow
from planner.ledger.tables import AttemptRow, JobRow

SHOWN_PROMPT = 200  # characters: two lines
COMPARED_JOBS = 400  # before and since a promotion: enough for a mean, and read in milliseconds

_OPEN = col(JobRow.finished_at).is_(None)
_LIGHT = ("id", "client", "state", "priority", "model", "node", "attempts", "created_at", "eta_p50_s", "eta_p90_s")
_ATTEMPT = ("job", "number", "node", "created_at", "closed_at", "began_at", "ended_at", "result", "placer")
_TOLD = ("num_inference_steps", "width_px", "height_px", "n")


@dataclass(frozen=True, kw_only=True)
class DelaySide:
    """Finished jobs on one side of a promotion.

    Attributes:
        mean_s: of their service delays; NaN where there are none.
        over_predicted: geometric mean of delay / delay predicted at submit, which knows how much work lay ahead.
    """

    jobs: int
    mean_s: float
    over_predicted: float


def open_counts(connection: Connection, id_prefix: str = "") -> dict[str, int]:
    """Return how many jobs are in each state that is not terminal, of those whose id begins so."""
    chosen = select(col(JobRow.state), func.count()).where(_OPEN, *_begins(id_prefix)).group_by(col(JobRow.state))
    return {state: count for state, count in connection.execute(chosen)}


def open_jobs(connection: Connection, limit: int, id_prefix: str = "", but: str = "") -> list[LedgerRow]:
    """Return light rows of open jobs: those that nodes hold first, then by class and age.

    Args:
        connection: of a transaction.
        limit: how many.
        id_prefix: only those whose id begins so.
        but: none of those whose id begins so.
    """
    columns = [col(getattr(JobRow, name)) for name in _LIGHT]
    chosen = select(*columns).where(_OPEN, *_begins(id_prefix), *(~one for one in _begins(but)))
    order = (col(JobRow.node).is_(None), col(JobRow.priority), col(JobRow.created_at))
    return [dict(row) for row in connection.execute(chosen.order_by(*order).limit(limit)).mappings()]


def waiting_by_age(connection: Connection, limit: int) -> list[str]:
    """Return the ids of the first `limit` WAITING jobs by class and age. The placer need not keep to that order."""
    chosen = select(col(JobRow.id)).where(_OPEN, col(JobRow.state) == JobState.WAITING)
    order = (col(JobRow.priority), col(JobRow.created_at))
    return list(connection.scalars(chosen.order_by(*order).limit(limit)))


def job_facts(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return client, model, beginning of the prompt, and size of the work of jobs, by id."""
    facts: dict[str, dict[str, Any]] = {}
    request = JobRow.__table__.c.request  # type: ignore[attr-defined]
    columns: list[Any] = [col(JobRow.id), col(JobRow.client), col(JobRow.model)]
    columns += [func.substr(request["prompt"].as_string(), 1, SHOWN_PROMPT).label("prompt")]
    columns += [request[name].as_integer().label(name) for name in _TOLD]
    for start in range(0, len(ids), MAX_PARAMETERS):
        chosen = select(*columns).where(col(JobRow.id).in_(ids[start : start + MAX_PARAMETERS]))
        facts |= {row["id"]: dict(row) for row in connection.execute(chosen).mappings()}
    return facts


def open_attempts(connection: Connection, limit: int) -> list[LedgerRow]:
    """Return attempts that nodes hold, in their order, each with `state` of its job and `predicted_service_s`."""
    columns = [col(getattr(AttemptRow, name)) for name in (*_ATTEMPT, "predicted_service_s")]
    chosen = select(*columns, col(JobRow.state)).join(JobRow, col(JobRow.id) == col(AttemptRow.job))
    chosen = chosen.where(col(AttemptRow.closed_at).is_(None)).order_by(col(AttemptRow.created_at)).limit(limit)
    return [dict(row) for row in connection.execute(chosen).mappings()]


def closed_attempts(connection: Connection, since: float, limit: int) -> list[LedgerRow]:
    """Return the newest attempts that were closed after `since` (Unix seconds), newest first."""
    columns = [col(getattr(AttemptRow, name)) for name in (*_ATTEMPT, "policy_version")]
    chosen = select(*columns).where(col(AttemptRow.closed_at) >= since)
    rows = connection.execute(chosen.order_by(col(AttemptRow.closed_at).desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def drawn_jobs(connection: Connection, limit: int, before: float, id_prefix: str = "") -> list[LedgerRow]:
    """Return the newest DONE jobs that were accepted before a moment (Unix seconds), newest first."""
    of_whom = (col(JobRow.state) == JobState.DONE, col(JobRow.created_at) < before, *_begins(id_prefix))
    chosen = select(JobRow).where(*of_whom).order_by(col(JobRow.created_at).desc()).limit(limit)
    return [dict(row) for row in connection.execute(chosen).mappings()]


def delays_around(connection: Connection, version: str, promoted_at: float) -> tuple[DelaySide, DelaySide]:
    """Return the delays of jobs accepted before a promotion, and of those since that its policy decided."""
    since = (col(JobRow.created_at) >= promoted_at) & (col(JobRow.policy_version) == version)
    return _side(connection, col(JobRow.created_at) < promoted_at), _side(connection, since)


def _side(connection: Connection, which: ColumnElement[bool]) -> DelaySide:
    parts = [col(getattr(JobRow, name)) for name in DELAY_PARTS]
    chosen = select(col(JobRow.foretold_s), *parts).where(
        which, col(JobRow.state) == JobState.DONE, col(JobRow.foretold_s) > 0.0
    )
    rows = connection.execute(chosen.order_by(col(JobRow.created_at).desc()).limit(COMPARED_JOBS)).all()
    if not rows:
        return DelaySide(jobs=0, mean_s=math.nan, over_predicted=math.nan)
    delays_s = [sum(row[1:]) for row in rows]
    logs = [math.log(max(delay_s, 1e-6) / row[0]) for delay_s, row in zip(delays_s, rows, strict=True)]
    mean_s = sum(delays_s) / len(rows)
    return DelaySide(jobs=len(rows), mean_s=mean_s, over_predicted=math.exp(sum(logs) / len(rows)))


def _begins(id_prefix: str) -> list[ColumnElement[bool]]:
    return [col(JobRow.id).startswith(id_prefix, autoescape=True)] if id_prefix else []
