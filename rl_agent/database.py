"""Opens the SQL database with ledger, experience and policies, for every process alike."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

LOCK_WAIT_S = 30.0
"""A writer waits so long for another one on SQLite; the longest transaction takes a few seconds."""
READ_ONLY = "ladle_read_only"


def open_database(url: str) -> Engine:
    """Return an engine; it connects at its first use.

    Args:
        url: SQLAlchemy URL of a SQLite file or a PostgreSQL database.
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin)
        return engine
    return create_engine(url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 5})


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for read-only transactions, which block no writer on SQLite."""
    return engine.execution_options(**{READ_ONLY: True})


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Allow one writer beside many readers, and make every commit durable."""
    connection.isolation_level = None
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={LOCK_WAIT_S * 1000:.0f}")
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()  # of a damaged file: SQLAlchemy keeps nothing that it could close
        raise


def _begin(connection: Connection) -> None:
    """Take the write lock at once unless the transaction only reads: upgrading a read lock would fail instead of wait.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (pysqlite transaction control)
    """
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
