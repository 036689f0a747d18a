"""The experience log: one row per placement, written by the planner, completed by the outcome, read by retraining.

A row says what was decided and from what, what was predicted, and what happened. The *next observation* of the same
ingress is not stored twice: it is the decision in the next row of that ingress.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Index, LargeBinary, bindparam, delete, func, insert, select, update
from sqlmodel import Field, SQLModel, col

PRUNED_AT_ONCE = 1_000  # the planner prunes at a tick, in the transaction of the turn, which must stay short
READ_AT_ONCE = 500  # rows fetched ahead: about 1 MB at 50 nodes, however long the log
OUTCOME_COLUMNS = (
    "result",
    "finished_at",
    "transfer_in_s",
    "waiting_s",
    "load_s",
    "generation_s",
    "transfer_out_s",
    "reward",
)


class ExperienceRow(SQLModel, table=True):
    """One decision joined with its outcome. `*_at` are Unix seconds on the planner's clock, all else is seconds.

    Attributes:
        units: work in megapixel steps, all `images` together.
        decision: `rl_agent.experience.decision.encode`: observation, eligible nodes, latent action, probabilities.
        propensity: how likely the chosen node was to be chosen.
        foretold_s: service delay predicted at submit, before any placer decides; None if no node was ready.
        eta_p50_s: median predicted from the placement to the result; `eta_p90_s`: its 90th percentile.
        resident_limit: how many models the node keeps in memory.
        shadow_version: the policy in the shadow; `shadow_node`: what it would have chosen.
        result: how the attempt ended. Delay parts and reward are those of the whole job, set when it is done.
        reward: minus the service delay.
    """

    __tablename__ = "experience"
    __table_args__ = (Index("ix_experience_attempt", "job", "attempt", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    job: str
    attempt: int
    ingress: str | None = None
    model: str
    units: float
    images: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    input_mbit: float
    output_mbit: float
    arrived_at: float
    decided_at: float
    node: str
    placer: str
    policy_version: str | None = None
    decision: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    propensity: float
    foretold_s: float | None = None
    eta_p50_s: float
    eta_p90_s: float
    resident_limit: int = 1
    shadow_version: str | None = None
    shadow_node: str | None = None
    result: str | None = None
    finished_at: float | None = None
    transfer_in_s: float | None = None
    waiting_s: float | None = None
    load_s: float | None = None
    generation_s: float | None = None
    transfer_out_s: float | None = None
    reward: float | None = None


_FINISH = (
    update(ExperienceRow)
    .where(col(ExperienceRow.job) == bindparam("of_job"), col(ExperienceRow.attempt) == bindparam("of_number"))
    .values({name: bindparam(name) for name in OUTCOME_COLUMNS})
)


def insert_experience(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the decisions of new attempts."""
    if rows:
        connection.execute(insert(ExperienceRow).inline(), list(rows))  # nobody asks for the ids


def finish_experience(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write outcomes; a row has `of_job`, `of_number` and any of `OUTCOME_COLUMNS`. Unknown attempts are ignored."""
    if rows:
        blank = dict.fromkeys(OUTCOME_COLUMNS)
        connection.execute(_FINISH, [{**blank, **row} for row in rows])


def prune_experience(connection: Connection, kept: int) -> int:
    """Delete the oldest rows beyond `kept`, at most `PRUNED_AT_ONCE` of them; return how many were deleted."""
    first, last = connection.execute(select(func.min(col(ExperienceRow.id)), func.max(col(ExperienceRow.id)))).one()
    if first is None or last is None or last - kept < first:
        return 0
    floor = min(first + PRUNED_AT_ONCE - 1, last - kept)
    return int(connection.execute(delete(ExperienceRow).where(col(ExperienceRow.id) <= floor)).rowcount)


def read_experience(
    connection: Connection, after: int = 0, *, until: int | None = None, newest: int | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield rows in the order of their decisions.

    Args:
        connection: in the caller's transaction.
        after: only rows with a greater id.
        until: only rows up to this id; None: all.
        newest: at most this many, the newest; None: all.
    """
    chosen = select(ExperienceRow).where(col(ExperienceRow.id) > after)
    if until is not None:
        chosen = chosen.where(col(ExperienceRow.id) <= until)
    if newest is not None:
        last = until or connection.scalar(select(func.max(col(ExperienceRow.id)))) or 0
        chosen = chosen.where(col(ExperienceRow.id) > last - newest)
    streamed = connection.execution_options(yield_per=READ_AT_ONCE).execute(chosen.order_by(col(ExperienceRow.id)))
    for row in streamed.mappings():
        yield dict(row)


def count_experience(connection: Connection) -> tuple[int, int]:
    """Return how many rows there are, and how many have a reward."""
    counts = select(func.count(col(ExperienceRow.id)), func.count(col(ExperienceRow.reward)))
    total, rewarded = connection.execute(counts).one()
    return int(total), int(rewarded)
