"""What this node has begun and finished: a message delivered twice is answered and not drawn again without end.

One small SQLite file per node. It needs no durability beyond the death of the process: a machine that loses power
draws an image twice, and the planner's fence refuses the second.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

KEPT = 256  # outcomes, images included: a broker delivers again only what was unacknowledged, a window of two


class DoneLedger:
    """The last `KEPT` attempts that began, and the last `KEPT` outcomes, by job and attempt."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=OFF"):
                self._database.execute(f"PRAGMA {pragma}")
            for name, column in (("done", "outcome TEXT"), ("begun", "times INTEGER")):
                columns = f"job TEXT, attempt INTEGER, {column}, PRIMARY KEY (job, attempt)"
                self._database.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        except sqlite3.Error:
            self._database.close()
            raise

    def begin(self, job: str, attempt: int) -> int:
        """Note that an attempt begins, and return how often it has begun here before without an end."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO begun VALUES (?, ?, 1) ON CONFLICT (job, attempt) DO UPDATE SET times = times + 1 "
                "RETURNING times, rowid",
                (job, attempt),
            )
            times, rowid = cursor.fetchone()
            self._database.execute("DELETE FROM begun WHERE rowid <= ?", (rowid - KEPT,))
        return int(times) - 1

    def get(self, job: str, attempt: int) -> dict[str, Any] | None:
        """Return the outcome of an attempt that was finished here."""
        with self._lock:
            row = self._database.execute(
                "SELECT outcome FROM done WHERE job = ? AND attempt = ?", (job, attempt)
            ).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, job: str, attempt: int, outcome: dict[str, Any]) -> None:
        """Keep an outcome, and forget the oldest."""
        with self._lock:
            self._database.execute("DELETE FROM begun WHERE job = ? AND attempt = ?", (job, attempt))
            cursor = self._database.execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?)", (job, attempt, json.dumps(outcome))
            )
            self._database.execute("DELETE FROM done WHERE rowid <= ?", ((cursor.lastrowid or 0) - KEPT,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
