"""What `ladle report` shows, read from the ledger and put into equal spans of time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select
from sqlmodel import col

from broker_config.messages import DELAY_PARTS, JobState
from planner.calibration import Stage
from planner.ledger.tables import AttemptRow, JobRow
from rl_agent.experience.log import ExperienceRow
from rl_agent.placing.estimates import FloatArray
from rl_agent.policy.registry import policies
from rl_agent.retraining.rounds import rounds_since

MAX_SPANS = 60  # more could not be told apart on a page
MIN_JOBS_PER_SPAN = 8  # on average; the quantiles of fewer jobs are noise


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many results came within what was promised, of those that came.

    Attributes:
        predictions: how many have ended. p50, p90: shares of them; NaN if there are none.
    """

    predictions: int
    p50: float
    p90: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """J finished jobs, E placements of finished jobs, P promotions, S spans of time.

    Attributes:
        finished_at: (J,) Unix seconds, ascending. parts_s: (J, 5) delay parts in the order of `DELAY_PARTS`.
        node, placer, version: of each job; the version is "" for a rule.
        edges: (S + 1,) Unix seconds.
        error_at: (E,) Unix seconds. error: (E,) seconds from placement to result over those predicted.
        promotions: when each version was promoted.
        busy: (A, 2) Unix seconds by node: from when to when it worked on an attempt, whatever came of that.
        coverage: of the promises made at each stage.
        rounds: of retraining, newest first.
    """

    finished_at: FloatArray
    parts_s: FloatArray
    node: Sequence[str]
    placer: Sequence[str]
    version: Sequence[str]
    edges: FloatArray
    error_at: FloatArray
    error: FloatArray
    promotions: Mapping[str, float]
    busy: Mapping[str, FloatArray]
    coverage: Mapping[Stage, Coverage]
    rounds: Sequence[Mapping[str, Any]] = ()

    @property
    def nodes(self) -> list[str]:
        """Return the names of all nodes that worked."""
        return sorted({*self.node, *self.busy})

    @property
    def delay_s(self) -> FloatArray:
        """(J,) service delays."""
        total: FloatArray = self.parts_s.sum(axis=1)
        return total

    @property
    def middles(self) -> FloatArray:
        """(S,) middles of the spans."""
        middles: FloatArray = (self.edges[:-1] + self.edges[1:]) / 2
        return middles

    def spans(self, at: FloatArray) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the index of the span each time lies in."""
        return np.clip(np.searchsorted(self.edges, at, side="right") - 1, 0, len(self.edges) - 2)

    def mean_parts_s(self) -> FloatArray:
        """(S, 5) mean delay parts of the jobs that ended in each span, NaN where none did."""
        span = self.spans(self.finished_at)
        return np.array([_mean(self.parts_s[span == n]) for n in range(len(self.edges) - 1)])

    def shares(self) -> FloatArray:
        """(N, S) share of each node in the jobs that ended in each span."""
        span, node = self.spans(self.finished_at), np.array(self.node)
        counts = np.array([[np.sum((span == n) & (node == k)) for n in range(len(self.edges) - 1)] for k in self.nodes])
        shares: FloatArray = counts / np.maximum(counts.sum(axis=0), 1)
        return shares

    def utilisation(self) -> FloatArray:
        """(N, S) share of each span that a node worked."""
        nothing = np.empty((0, 2))
        left, right = self.edges[:-1, None], self.edges[1:, None]
        times = [self.busy.get(node, nothing).T for node in self.nodes]
        busy_s = [np.clip(np.minimum(end, right) - np.maximum(begin, left), 0.0, None).sum(1) for begin, end in times]
        shares: FloatArray = np.array(busy_s) / np.diff(self.edges)
        return shares

    def error_quantiles(self, shares: Sequence[float]) -> FloatArray:
        """(S, shares) quantiles of the prediction error in each span, NaN where there is none."""
        span = self.spans(self.error_at)
        found = [self.error[span == n] for n in range(len(self.edges) - 1)]
        return np.array([np.quantile(e, shares) if len(e) else np.full(len(shares), np.nan) for e in found])


def read_report(connection: Connection, since: float) -> ReportData | None:
    """Read what ended after `since` (Unix seconds); None if nothing did."""
    names = ("finished_at", "node", "placer", "policy_version", *DELAY_PARTS)
    columns = [col(getattr(JobRow, name)) for name in names]
    chosen = select(*columns).where(col(JobRow.state) == JobState.DONE, col(JobRow.finished_at) >= since)
    rows = connection.execute(chosen.order_by(col(JobRow.finished_at))).all()
    if not rows:
        return None
    errors = connection.execute(
        select(
            col(ExperienceRow.finished_at),
            (col(ExperienceRow.finished_at) - col(ExperienceRow.decided_at)) / col(ExperienceRow.eta_p50_s),
        ).where(
            col(ExperienceRow.result) == "done",
            col(ExperienceRow.finished_at) >= since,
            col(ExperienceRow.eta_p50_s) > 0.0,
        )
    ).all()
    finished_at = np.array([row[0] for row in rows], dtype=np.float64)
    spans = int(np.clip(len(rows) // MIN_JOBS_PER_SPAN, 1, MAX_SPANS))
    promotions = {row["version"]: row["promoted_at"] for row in policies(connection) if row["promoted_at"] is not None}
    return ReportData(
        finished_at=finished_at,
        parts_s=np.array([row[4:] for row in rows], dtype=np.float64),
        node=[row[1] for row in rows],
        placer=[row[2] or "" for row in rows],
        version=[row[3] or "" for row in rows],
        edges=np.linspace(finished_at[0], max(finished_at[-1], finished_at[0] + 1.0), spans + 1),
        error_at=np.array([row[0] for row in errors], dtype=np.float64),
        error=np.array([row[1] for row in errors], dtype=np.float64),
        promotions={version: at for version, at in promotions.items() if at >= finished_at[0]},
        busy=_busy(connection, since),
        coverage=read_coverage(connection, since),
        rounds=rounds_since(connection, since),
    )


def _busy(connection: Connection, since: float) -> dict[str, FloatArray]:
    """Return by node when it worked on attempts that ended after `since`."""
    columns = (col(AttemptRow.node), col(AttemptRow.began_at), col(AttemptRow.ended_at))
    chosen = select(*columns).where(col(AttemptRow.ended_at) >= since)
    times: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for node, began_at, ended_at in connection.execute(chosen):
        times[node].append((began_at, ended_at))
    return {node: np.array(each, dtype=np.float64) for node, each in times.items()}


def read_coverage(connection: Connection, since: float) -> dict[Stage, Coverage]:
    """Return how the promises of what ended after `since` (Unix seconds) were kept, by the stage they were made at."""
    job, attempt = JobRow, AttemptRow
    of_jobs = select(col(job.finished_at) - col(job.created_at), col(job.eta_p50_s), col(job.eta_p90_s)).where(
        col(job.state) == JobState.DONE, col(job.finished_at) >= since, col(job.eta_p50_s).is_not(None)
    )
    of_attempts = select(
        col(attempt.closed_at) - col(attempt.created_at), col(attempt.eta_p50_s), col(attempt.eta_p90_s)
    ).where(col(attempt.result) == "done", col(attempt.closed_at) >= since)
    chosen = {Stage.ACCEPTED: of_jobs, Stage.PLACED: of_attempts}
    return {stage: _coverage(connection.execute(statement).all()) for stage, statement in chosen.items()}


def _coverage(rows: Sequence[Any]) -> Coverage:
    """Return the coverage of rows of seconds taken, p50 and p90."""
    if not rows:
        return Coverage(predictions=0, p50=math.nan, p90=math.nan)
    taken_s, p50_s, p90_s = np.array([tuple(row) for row in rows], dtype=np.float64).T
    return Coverage(predictions=len(rows), p50=float(np.mean(taken_s <= p50_s)), p90=float(np.mean(taken_s <= p90_s)))


def _mean(parts_s: FloatArray) -> FloatArray:
    means: FloatArray = parts_s.mean(axis=0) if len(parts_s) else np.full(len(DELAY_PARTS), np.nan)
    return means
