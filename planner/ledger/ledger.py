"""The ledger: every read and write of the SQL tables, in batches, inside a transaction the caller holds.

Left out: what to write (that is `planner.turns`), and schema changes (`migrations`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, bindparam, delete, func, insert, inspect, or_, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlmodel import col

from broker_config.errors import ConfigurationError, without_password
from broker_config.messages import JobState
from planner.errors import DatabaseUnavailableError
from planner.ledger.tables import AttemptRow, AttemptState, DeadLetterRow, EstimateRow, JobRow, NodeRow, PlannerRow
from planner.ledger.writing import upsert
from rl_agent.database import for_reading, open_database
from rl_agent.placing.estimates import Estimates, ModelEstimate
from rl_agent.placing.running_mean import RunningLogMean
from rl_agent.placing.work_law import WorkLaw

logger = logging.getLogger(__name__)

LedgerRow = Mapping[str, Any]
"""One row of a table, by column (`planner.ledger.tables`)."""

MAX_PARAMETERS = 10_000  # of one statement: SQLite takes 32,766, PostgreSQL 65,535
OUTAGE_CLASSES = {"08", "25", "28", "3D", "40", "53", "55", "57", "58", "F0", "XX"}
"""SQLSTATE classes: no connection, read-only, no access, no database, conflict, full, locked, stopped, broken."""
OUTAGE_STATES = {"42P01", "42501"}
"""SQLSTATEs of a database that somebody is still setting up: no such table, no rights."""
STATEMENT_FAULTS = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
}

_CLOSE_ATTEMPT = (
    update(AttemptRow)
    .where(
        col(AttemptRow.job) == bindparam("of_job"),
        col(AttemptRow.number) == bindparam("of_number"),
        col(AttemptRow.closed_at).is_(None),
    )
    .values(
        state=AttemptState.CLOSED,
        closed_at=bindparam("closed_at"),
        began_at=bindparam("began_at"),
        ended_at=bindparam("ended_at"),
        result=bindparam("result"),
        failure=bindparam("failure"),
    )
)
_MARK_PUBLISHED = (
    update(AttemptRow)
    .where(
        col(AttemptRow.job) == bindparam("of_job"),
        col(AttemptRow.number) == bindparam("of_number"),
        col(AttemptRow.closed_at).is_(None),
    )
    .values(state=AttemptState.PUBLISHED)
)
_MOVE_JOB = (
    update(JobRow)
    .where(col(JobRow.id) == bindparam("of_job"), col(JobRow.finished_at).is_(None))
    .values(
        state=bindparam("state"),
        node=bindparam("node"),
        attempts=bindparam("attempts"),
        failures=bindparam("failures"),
        client=bindparam("client"),
        priority=bindparam("priority"),
    )
)
_FINISH_COLUMNS = (
    "state",
    "finished_at",
    "node",
    "placer",
    "policy_version",
    "failures",
    "failure",
    "images",
    "warnings",
    "transfer_in_s",
    "waiting_s",
    "load_s",
    "generation_s",
    "transfer_out_s",
)
_FINISH_JOB = (
    update(JobRow)
    .where(col(JobRow.id) == bindparam("of_job"), col(JobRow.finished_at).is_(None))
    .values({name: bindparam(name) for name in _FINISH_COLUMNS})
)


class Ledger:
    """A database and the statements Ladle runs on it.

    Raises:
        ConfigurationError: the URL is malformed.
        DatabaseUnavailableError: from every method, when the database does not answer or is damaged.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._engine = open_database(url)
        except (ArgumentError, ValueError) as exc:
            raise ConfigurationError(f"LADLE_DATABASE_URL: {without_password(url)!r} is no database URL") from exc

    @contextmanager
    def transaction(self, *, reads: bool = False) -> Iterator[Connection]:
        """Open a transaction: committed at the end of the block, rolled back on any error.

        Args:
            reads: nothing will be written: on SQLite, readers and writers then do not wait for each other.
        """
        try:
            with (for_reading(self._engine) if reads else self._engine).begin() as connection:
                yield connection
        except DBAPIError as exc:
            if not _is_outage(exc):
                raise
            raise DatabaseUnavailableError(self.url, _first_line(exc)) from exc

    def migrate(self) -> None:
        """Create the tables, or migrate those of an older version of Ladle."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.transaction() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def has_tables(self) -> bool:
        """True once a planner has created the tables. Asking does not create a SQLite file."""
        file = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        if file and not Path(file).exists():
            return False
        with self.transaction() as connection:
            return inspect(connection).has_table("job")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # Which planner process is current

    def holder(self, connection: Connection) -> str | None:
        """Return the planner process whose memory is current, locking the row for this transaction."""
        statement = select(col(PlannerRow.holder)).where(col(PlannerRow.id) == 1).with_for_update()
        return connection.scalar(statement)

    def take_over(self, connection: Connection, holder: str) -> None:
        """Make `holder` the current planner process."""
        changed = connection.execute(update(PlannerRow).where(col(PlannerRow.id) == 1).values(holder=holder))
        if changed.rowcount == 0:
            connection.execute(insert(PlannerRow).values(id=1, holder=holder, beats=0))

    def pulse(self, connection: Connection) -> tuple[str, int] | None:
        """Return the current planner process and how often it has ticked."""
        row = connection.execute(select(col(PlannerRow.holder), col(PlannerRow.beats))).first()
        return None if row is None else (row.holder, row.beats)

    def beat(self, connection: Connection, now: float) -> None:
        """Show that the current planner process lives, `now` on its clock."""
        connection.execute(update(PlannerRow).values(beats=col(PlannerRow.beats) + 1, ticked_at=now))

    def last_tick(self, connection: Connection) -> float | None:
        """Return when a planner process last ticked, None if that is not known."""
        return connection.scalar(select(col(PlannerRow.ticked_at)))

    # Jobs

    def jobs(self, connection: Connection, ids: Sequence[str]) -> dict[str, LedgerRow]:
        """Return the rows of `ids` that exist."""
        found: dict[str, LedgerRow] = {}
        for start in range(0, len(ids), MAX_PARAMETERS):
            some = ids[start : start + MAX_PARAMETERS]
            rows = connection.execute(select(JobRow).where(col(JobRow.id).in_(some))).mappings()
            found |= {row["id"]: dict(row) for row in rows}
        return found

    def open_jobs(self, connection: Connection) -> list[LedgerRow]:
        """Return every job that is not in a terminal state, oldest first."""
        statement = select(JobRow).where(col(JobRow.finished_at).is_(None)).order_by(col(JobRow.created_at))
        return [dict(row) for row in connection.execute(statement).mappings()]

    def recent_jobs(
        self,
        connection: Connection,
        limit: int,
        states: Sequence[str] = (),
        owner: str | None = None,
        id_prefix: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> list[LedgerRow]:
        """Return the newest `limit` jobs, newest first.

        Args:
            connection: of a transaction.
            limit: how many.
            states: only those in one of these, if any are named.
            owner: only those of this one, if one is named.
            id_prefix: only those whose id begins so.
            labels: only those that have all of these, by name and value.
        """
        statement = select(JobRow).order_by(col(JobRow.created_at).desc()).limit(limit)
        if states:
            statement = statement.where(col(JobRow.state).in_(states))
        if owner is not None:
            whose = col(JobRow.client)
            statement = statement.where(or_(whose == owner, whose.startswith(f"{owner}.", autoescape=True)))
        if id_prefix:
            statement = statement.where(col(JobRow.id).startswith(id_prefix, autoescape=True))
        for name, value in (labels or {}).items():
            statement = statement.where(col(JobRow.labels)[name].as_string() == value)
        return [dict(row) for row in connection.execute(statement).mappings()]

    def count_by_state(self, connection: Connection) -> dict[str, int]:
        """Return how many jobs are in each state."""
        statement = select(col(JobRow.state), func.count()).group_by(col(JobRow.state))
        return {state: count for state, count in connection.execute(statement)}

    def insert_jobs(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Write new jobs."""
        if rows:
            connection.execute(insert(JobRow), list(rows))

    def move_jobs(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Update open jobs; a row has `of_job`, `state`, `node`, `attempts`, `failures` and `client`."""
        if rows:
            connection.execute(_MOVE_JOB, list(rows))

    def finish_jobs(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Bring open jobs to a terminal state; a job that has one keeps it. Missing columns become NULL."""
        if rows:
            blank = dict.fromkeys(_FINISH_COLUMNS)
            connection.execute(_FINISH_JOB, [{**blank, **row} for row in rows])

    # Attempts

    def open_attempts(self, connection: Connection) -> list[LedgerRow]:
        """Return every attempt that is not closed, oldest first."""
        statement = select(AttemptRow).where(col(AttemptRow.closed_at).is_(None)).order_by(col(AttemptRow.created_at))
        return [dict(row) for row in connection.execute(statement).mappings()]

    def attempts_of(self, connection: Connection, job: str) -> list[LedgerRow]:
        """Return all attempts of `job`, first to last."""
        statement = select(AttemptRow).where(col(AttemptRow.job) == job).order_by(col(AttemptRow.number))
        return [dict(row) for row in connection.execute(statement).mappings()]

    def is_recorded(self, connection: Connection, job: str, number: int) -> bool:
        """True when the result of this very attempt is the job's result."""
        row = connection.execute(
            select(col(AttemptRow.result)).where(col(AttemptRow.job) == job, col(AttemptRow.number) == number)
        ).first()
        return row is not None and row.result == "done"

    def insert_attempts(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Write new attempts with their decisions."""
        if rows:
            connection.execute(insert(AttemptRow), list(rows))

    def close_attempts(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Close open attempts; a row has `of_job`, `of_number`, and what `_CLOSE_ATTEMPT` sets."""
        if rows:
            connection.execute(_CLOSE_ATTEMPT, list(rows))

    def mark_published(self, connection: Connection, attempts: Sequence[tuple[str, int]]) -> None:
        """Note that the broker has the messages of `attempts` (job, number)."""
        if attempts:
            connection.execute(_MARK_PUBLISHED, [{"of_job": job, "of_number": number} for job, number in attempts])

    # Nodes and estimates

    def nodes(self, connection: Connection) -> list[LedgerRow]:
        """Return every node that ever reported, by name."""
        return [dict(row) for row in connection.execute(select(NodeRow).order_by(col(NodeRow.name))).mappings()]

    def save_nodes(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Insert or replace the rows of nodes."""
        upsert(connection, NodeRow, ("name",), rows)

    def delete_nodes(self, connection: Connection, names: Sequence[str]) -> None:
        """Delete nodes and the estimates of them; their attempts stay."""
        if names:
            connection.execute(delete(EstimateRow).where(col(EstimateRow.node).in_(names)))
            connection.execute(delete(NodeRow).where(col(NodeRow.name).in_(names)))

    def estimates(self, connection: Connection) -> Estimates:
        """Return the running estimates as they were saved last; implausible ones are left out, and said so."""
        estimates = Estimates()
        for row in connection.execute(select(EstimateRow)).mappings():
            estimate = ModelEstimate(
                s_per_unit=RunningLogMean(
                    mean_log=row["s_per_unit_mean_log"],
                    std_log=row["s_per_unit_std_log"],
                    count=row["s_per_unit_count"],
                ),
                load_s=RunningLogMean(
                    mean_log=row["load_mean_log"], std_log=row["load_std_log"], count=row["load_count"]
                ),
                law=WorkLaw(overhead_units=row["overhead_units"], **(row["law"] or {})),
            )
            if estimate.is_plausible:
                estimates.by_node.setdefault(row["node"], {})[row["model"]] = estimate
            else:
                logger.warning("forgotten: an implausible estimate of node %s for %s", row["node"], row["model"])
        return estimates

    def save_estimates(self, connection: Connection, estimates: Estimates, learned: Sequence[tuple[str, str]]) -> None:
        """Save the estimates of the `learned` pairs of node and model."""
        rows = []
        for node, model in learned:
            estimate = estimates.of(node, model)
            rows.append(
                {
                    "node": node,
                    "model": model,
                    "s_per_unit_mean_log": estimate.s_per_unit.mean_log,
                    "s_per_unit_std_log": estimate.s_per_unit.std_log,
                    "s_per_unit_count": estimate.s_per_unit.count,
                    "load_mean_log": estimate.load_s.mean_log,
                    "load_std_log": estimate.load_s.std_log,
                    "load_count": estimate.load_s.count,
                    "overhead_units": estimate.law.overhead_units,
                    "law": {k: v for k, v in vars(estimate.law).items() if k != "overhead_units"},
                }
            )
        upsert(connection, EstimateRow, ("node", "model"), rows)

    # Dead letters

    def insert_dead_letters(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """Write dead letters."""
        if rows:
            connection.execute(insert(DeadLetterRow).inline(), list(rows))  # nobody asks for the ids

    def dead_letters(self, connection: Connection, ids: Sequence[int] | None = None) -> list[LedgerRow]:
        """Return the dead letters, or those of `ids`, oldest first."""
        statement = select(DeadLetterRow).order_by(col(DeadLetterRow.id))
        if ids is not None:
            statement = statement.where(col(DeadLetterRow.id).in_(ids))
        return [dict(row) for row in connection.execute(statement).mappings()]

    def count_dead_letters(self, connection: Connection) -> int:
        """Return how many dead letters are kept."""
        return connection.scalar(select(func.count()).select_from(DeadLetterRow)) or 0

    def newest_dead_letters(self, connection: Connection, limit: int) -> list[LedgerRow]:
        """Return the newest `limit` dead letters, newest first."""
        statement = select(DeadLetterRow).order_by(col(DeadLetterRow.id).desc()).limit(limit)
        return [dict(row) for row in connection.execute(statement).mappings()]

    def drop_dead_letters(self, connection: Connection, ids: Sequence[int] | None = None) -> int:
        """Delete the dead letters of `ids`, or all, and return how many there were."""
        statement = delete(DeadLetterRow)
        if ids is not None:
            statement = statement.where(col(DeadLetterRow.id).in_(ids))
        return connection.execute(statement).rowcount


def job_counts(counts: Mapping[str, int]) -> tuple[int, int]:
    """Return (open, terminal) job counts of `Ledger.count_by_state`."""
    terminal = sum(count for state, count in counts.items() if JobState(state).is_terminal)
    return sum(counts.values()) - terminal, terminal


def _is_outage(exc: DBAPIError) -> bool:
    """True when the database is away, locked, full or damaged; False when one statement or its values are at fault.

    Waiting helps only in the first case. Both drivers raise OperationalError in the second, too: for more than 65,535
    parameters, say, or a value too long for an index.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html, https://sqlite.org/rescode.html
    """
    state = getattr(exc.orig, "sqlstate", None)
    if state is not None:
        return state[:2] in OUTAGE_CLASSES or state in OUTAGE_STATES
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) not in STATEMENT_FAULTS or "no such table" in str(exc.orig)
    return isinstance(exc, OperationalError | InterfaceError) and "number of parameters" not in str(exc.orig)


def _first_line(exc: DBAPIError) -> str:
    return str(exc.orig or exc).strip().split("\n", 1)[0]
