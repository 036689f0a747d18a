"""The rounds of retraining in the ledger's database: what each read, how long it took, and what came of it.

From these the trainer knows which outcomes are new, and how much of the processor it may use: restarts, another machine
and a `kill -9` change nothing about that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlmodel import Field, SQLModel, col

from rl_agent.experience.log import ExperienceRow

HOUR_S = 3_600.0
"""The share of the processor is bounded over any stretch of this length."""
KEPT = 1_000
"""Newest rounds that are kept: a week of one every ten minutes."""


class RoundResult(StrEnum):
    """What has become of a round."""

    BEGUN = "BEGUN"  #: it runs, or was killed
    CUT_SHORT = "CUT_SHORT"  #: it had no time left to judge anything; its outcomes are read again
    ENDED = "ENDED"  #: something was judged, or there was nothing to judge


class RoundRow(SQLModel, table=True):
    """One round. `*_at` are Unix seconds.

    Attributes:
        noted_at: when `wall_s` and `processor_s`, the seconds used, were noted last.
        last_id: the newest row of experience that it read. outcomes: how many of them were new.
        reason: what came of it, in one sentence.
    """

    __tablename__ = "retraining_round"

    id: int | None = Field(default=None, primary_key=True)
    began_at: float
    noted_at: float
    wall_s: float = 0.0
    processor_s: float = 0.0
    last_id: int
    outcomes: int
    result: str
    reason: str = ""


def begin_round(connection: Connection, now: float, *, last_id: int, outcomes: int) -> int:
    """Note that a round begins; return its id. The oldest ones are deleted."""
    row = {"began_at": now, "noted_at": now, "wall_s": 0.0, "processor_s": 0.0, "last_id": last_id}
    begun = insert(RoundRow).values(**row, outcomes=outcomes, result=RoundResult.BEGUN, reason="")
    number = int(connection.execute(begun).inserted_primary_key[0])  # type: ignore[index]
    connection.execute(delete(RoundRow).where(col(RoundRow.id) <= number - KEPT))
    return number


def note_round(connection: Connection, number: int, now: float, **values: Any) -> None:
    """Note the seconds a round has used so far, and what else is known of it."""
    connection.execute(update(RoundRow).where(col(RoundRow.id) == number).values(noted_at=now, **values))


def processor_s_since(connection: Connection, since: float) -> float:
    """Return the seconds of the processor of all rounds that went on after `since`, those before it included."""
    used = select(func.sum(col(RoundRow.processor_s))).where(col(RoundRow.noted_at) > since)
    return float(connection.scalar(used) or 0.0)


def last_read(connection: Connection) -> int:
    """Return the newest row of experience that a round has read to the end; 0 if there was no such round."""
    ended = select(func.max(col(RoundRow.last_id))).where(col(RoundRow.result) == RoundResult.ENDED)
    return int(connection.scalar(ended) or 0)


def new_outcomes(connection: Connection) -> int:
    """Return how many finished jobs no round has read."""
    newer = (col(ExperienceRow.id) > last_read(connection), col(ExperienceRow.result) == "done")
    return int(connection.scalar(select(func.count()).select_from(ExperienceRow).where(*newer)) or 0)


def rounds_since(connection: Connection, since: float) -> list[Mapping[str, Any]]:
    """Return the rounds that went on after `since`, newest first."""
    chosen = select(RoundRow).where(col(RoundRow.noted_at) >= since).order_by(col(RoundRow.id).desc())
    return [dict(row) for row in connection.execute(chosen).mappings()]
