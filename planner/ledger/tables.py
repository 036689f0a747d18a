"""The ledger's tables: the truth about jobs. Messages may be lost or doubled; these rows decide.

All `*_at` columns are Unix seconds on the planner's clock; all other durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Index, text
from sqlmodel import Field, SQLModel


def _index_of_open(name: str, end: str) -> Index:
    """Return a partial index of the rows that have not ended: reading them stays fast however long the table is."""
    where = text(f"{end} IS NULL")
    return Index(name, "state", sqlite_where=where, postgresql_where=where)


class AttemptState(StrEnum):
    """Where one attempt is."""

    WRITTEN = "WRITTEN"  #: decided and committed; its message may not have left yet (the outbox)
    PUBLISHED = "PUBLISHED"  #: the broker confirmed its message
    CLOSED = "CLOSED"  #: an outcome was recorded, or the planner took the job back


class JobRow(SQLModel, table=True):
    """One accepted job.

    Attributes:
        attempts: how often it was placed.
        failures: how many of these attempts count against `LADLE_MAX_ATTEMPTS`.
        foretold_s: service delay predicted when it was accepted; None if no node was ready. `eta_p50_s` and `eta_p90_s`
            are what was made of it, and promised (`planner.calibration`).
        labels: for people to find it by; None if an older Ladle accepted it.
        traceparent: W3C context of its trace; None if it is not traced.
    """

    __tablename__ = "job"
    __table_args__ = (_index_of_open("ix_job_open", "finished_at"),)

    id: str = Field(primary_key=True)
    client: str
    request: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    model: str
    units: float
    ingress: str | None = None
    priority: int
    state: str
    attempts: int = 0
    failures: int = 0
    created_at: float = Field(index=True)
    deadline_at: float | None = None
    labels: dict[str, str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    traceparent: str | None = None
    foretold_s: float | None = None
    eta_p50_s: float | None = None
    eta_p90_s: float | None = None
    finished_at: float | None = None
    node: str | None = None
    placer: str | None = None
    policy_version: str | None = None
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    images: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    warnings: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    transfer_in_s: float | None = None
    waiting_s: float | None = None
    load_s: float | None = None
    generation_s: float | None = None
    transfer_out_s: float | None = None


class AttemptRow(SQLModel, table=True):
    """One placement of a job; what it was decided from is in the experience log (`rl_agent.experience.log`).

    Attributes:
        began_at, ended_at: between them its node worked on it, as far as is known; None if it never began, or was lost.
        foretold_s: predicted seconds to its result; None if an older Ladle placed it. `eta_p50_s` and `eta_p90_s` are
            what was made of it, and promised (`planner.calibration`).
    """

    __tablename__ = "attempt"
    __table_args__ = (_index_of_open("ix_attempt_open", "closed_at"),)

    job: str = Field(primary_key=True, foreign_key="job.id")
    number: int = Field(primary_key=True)
    node: str = Field(index=True)
    state: str
    created_at: float
    closed_at: float | None = Field(default=None, index=True)
    began_at: float | None = None
    ended_at: float | None = None
    result: str | None = None
    placer: str
    policy_version: str | None = None
    predicted_service_s: float
    foretold_s: float | None = None
    eta_p50_s: float
    eta_p90_s: float
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class NodeRow(SQLModel, table=True):
    """One node that has ever reported: its last report, whether it is drained, and which models drift there.

    Attributes:
        drained_until: when its drain ends by itself; None: never.
    """

    __tablename__ = "node"

    name: str = Field(primary_key=True)
    state: str
    draining: bool = False
    drained_until: float | None = None
    reason: str = ""
    report: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    drift: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    seen_at: float


class EstimateRow(SQLModel, table=True):
    """Running estimate of one node for one model (`rl_agent.placing.estimates`), so that a restart forgets nothing.

    Attributes:
        law: the fit of `rl_agent.placing.work_law.WorkLaw`, but for its overhead; None if an older Ladle wrote the row.
    """

    __tablename__ = "estimate"

    node: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    s_per_unit_mean_log: float
    s_per_unit_std_log: float
    s_per_unit_count: int
    load_mean_log: float
    load_std_log: float
    load_count: int
    overhead_units: float
    law: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class CalibrationRow(SQLModel, table=True):
    """What recent predictions of one stage came to (`planner.calibration`)."""

    __tablename__ = "calibration"

    stage: str = Field(primary_key=True)
    scores: list[float] = Field(sa_column=Column(JSON, nullable=False))
    p50_level: float
    p90_level: float


class DeadLetterRow(SQLModel, table=True):
    """A message that no process could handle, kept until a person requeues or drops it (`planner.turns.dead_letters`).

    Attributes:
        id: never reused, so that a person drops the letter they saw and not a newer one.
        routing_key: the one it was published with; None if an older version of Ladle kept the letter.
        body: base64, truncated if it is very long.
        body_bytes: length of the whole body.
    """

    __tablename__ = "dead_letter"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    received_at: float
    reason: str
    queue: str
    headers: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    content_type: str | None = None
    content_encoding: str | None = None
    routing_key: str | None = None
    body: str
    body_bytes: int


class PlannerRow(SQLModel, table=True):
    """The one row that names the planner process whose memory is current (hot standby); each tick raises `beats`.

    Attributes:
        ticked_at: when it last ticked; None before the first tick, and after an update until the next one.
    """

    __tablename__ = "planner"

    id: int = Field(default=1, primary_key=True)
    holder: str
    beats: int = 0
    ticked_at: float | None = None
