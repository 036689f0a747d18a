"""Which connections SQLAlchemy opens, and whether they are closed: Python 3.13 warns of each that is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool


@contextmanager
def opened_databases() -> Iterator[list[Any]]:
    """Yield a list of the connections to SQLite that are opened in the block."""
    opened: list[Any] = []

    def note(connection, _record):
        opened.append(connection)

    event.listen(Pool, "connect", note)
    try:
        yield opened
    finally:
        event.remove(Pool, "connect", note)


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False
