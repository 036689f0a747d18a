"""The broker file: one SQLite database opened, locked, written and its errors put into words.

Leaves out what the rows mean (``topology``, ``queue``) and kombu (``transport``).

The errors, all of them kombu ``OperationalError``, so that a publisher sees what any broker gives::

    BrokerFileError
    ├── BrokerFileBusy      another process held the write lock for too long; worth another try
    ├── BrokerFileFull      the disk is full or does not answer; worth another try
    └── BrokerFileUnusable  not a broker file, damaged, or not readable; a person must act
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kombu.exceptions import OperationalError

Answer = TypeVar("Answer")
SqlRow = tuple[Any, ...]

APPLICATION_ID = 0x4C61646C  # "Ladl": tells a broker file from any other SQLite file
SCHEMA_VERSION = 2  # 1 said "owner" for a lease

# AUTOINCREMENT: an id is never used twice, so a late ack can never delete another message.
_SCHEMA = (
    "CREATE TABLE topology (version INTEGER NOT NULL)",
    "INSERT INTO topology VALUES (1)",
    "CREATE TABLE exchange (name TEXT PRIMARY KEY, type TEXT NOT NULL)",
    "CREATE TABLE queue (name TEXT PRIMARY KEY, declaration TEXT NOT NULL, exclusive INTEGER NOT NULL,"
    " auto_delete INTEGER NOT NULL, single_active INTEGER NOT NULL, message_ttl_s REAL, idle_expiry_s REAL,"
    " unused_since_s REAL, lease TEXT)",
    "CREATE TABLE binding (exchange TEXT NOT NULL, routing_key TEXT NOT NULL, queue TEXT NOT NULL,"
    " PRIMARY KEY (exchange, routing_key, queue)) WITHOUT ROWID",
    "CREATE TABLE consumer (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, lease TEXT NOT NULL,"
    " tag TEXT NOT NULL, UNIQUE (lease, tag))",
    "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, envelope TEXT NOT NULL,"
    " body BLOB NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0, lease TEXT, expires_s REAL)",
    "CREATE INDEX message_queue ON message (queue, lease, id)",
    "CREATE INDEX message_lease ON message (lease) WHERE lease IS NOT NULL",
    "CREATE INDEX message_expires ON message (expires_s) WHERE expires_s IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_FROM_VERSION_1 = (
    *(f"ALTER TABLE {table} RENAME COLUMN owner TO lease" for table in ("queue", "consumer", "message")),
    "DROP INDEX message_owner",
    "CREATE INDEX message_lease ON message (lease) WHERE lease IS NOT NULL",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_checked: set[Path] = set()  # files whose pages this process has already checked


class BrokerFileError(OperationalError):
    """The broker file could not be used.

    Args:
        path: The file.
        detail: What was wrong, and what to do.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"broker file {self.path}: {self.detail}"


class BrokerFileBusy(BrokerFileError):
    """Another process held the write lock longer than ``lock_timeout_s``."""


class BrokerFileFull(BrokerFileError):
    """The disk is full or failed; the message was not stored."""


class BrokerFileUnusable(BrokerFileError):
    """Not a broker file, damaged, or not readable: waiting does not help."""


def _primary_code(exc: sqlite3.Error) -> int:
    """Primary result code; the extended one carries detail in the upper bits."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def _in_words(path: str, exc: sqlite3.Error) -> BrokerFileError:
    code = _primary_code(exc)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return BrokerFileFull(path, f"{exc}; nothing was stored: free some disk space, the work then goes on")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BrokerFileUnusable(
            path, f"{exc}; move the file away together with its -wal and -shm files and start again"
        )
    return BrokerFileUnusable(path, f"{exc}; check the path and its permissions")


class BrokerFile:
    """One connection to a broker file, safe to share between threads.

    Args:
        path: The SQLite file; it and its folder are made when missing.
        lock_timeout_s: Longest wait for another process's write, in seconds.

    Raises:
        BrokerFileError: The file cannot be opened, is damaged, or belongs to something else.

    Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_data_version
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 30.0) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s
        self.mutex = threading.RLock()
        self._pid = os.getpid()
        self._synced = True
        self._seen_version = -1
        self._written = True
        with self._translated():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise BrokerFileUnusable(str(path), f"{exc.strerror}: {path.parent}") from exc
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        # The page check costs a read of the file: once per process is enough to refuse a damaged file at start.
        if self.path not in _checked:
            faults = self.read("PRAGMA quick_check(1)")
            if faults != [("ok",)]:
                raise BrokerFileUnusable(str(self.path), f"damaged: {faults[0][0]}; move it away and start again")
        self._patiently(lambda: self._db.execute("PRAGMA journal_mode = WAL").fetchall())
        if self.read("PRAGMA application_id") == [(0,)]:
            with self.write(durable=True) as db:
                # A second process may have made the tables while this one waited for the lock.
                if db.execute("PRAGMA application_id").fetchone() == (0,):
                    if db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                        raise BrokerFileUnusable(
                            str(self.path), "holds tables of something else; choose another path for the broker"
                        )
                    for statement in _SCHEMA:
                        db.execute(statement)
        if self.read("PRAGMA application_id") != [(APPLICATION_ID,)]:
            raise BrokerFileUnusable(str(self.path), "belongs to another application; choose another path")
        if self.read("PRAGMA user_version") == [(1,)]:
            with self.write(durable=True) as db:
                if db.execute("PRAGMA user_version").fetchone() == (1,):
                    for statement in _FROM_VERSION_1:
                        db.execute(statement)
        ((version,),) = self.read("PRAGMA user_version")
        if version != SCHEMA_VERSION:
            raise BrokerFileUnusable(
                str(self.path), f"has format {version}, this Ladle reads {SCHEMA_VERSION}; drain it with its own Ladle"
            )
        _checked.add(self.path)

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction; commits at the end of the block, rolls back on any exception.

        Args:
            durable: Return only when the disk has it (survives a power cut). Otherwise the kernel has it
                (survives the death of every process).

        Raises:
            BrokerFileError: Lock not granted in time, disk full, or file damaged.
        """
        with self.mutex, self._translated():
            if durable is not self._synced:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._synced = durable
            self._patiently(lambda: self._db.execute("BEGIN IMMEDIATE"))
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._written = True

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every ``read`` of the block see the file as of one moment, as those within ``write`` do anyway."""
        with self.mutex, self._translated():
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def read(self, sql: str, parameters: SqlRow = ()) -> list[SqlRow]:
        """Rows of one query; never waits for a writer."""
        with self.mutex, self._translated():
            return self._patiently(lambda: self._db.execute(sql, parameters).fetchall())

    def changed(self) -> bool:
        """Whether anything was committed, here or elsewhere, since this was last asked (3 µs)."""
        with self.mutex:
            ((version,),) = self.read("PRAGMA data_version")
            if version == self._seen_version and not self._written:
                return False
            self._seen_version, self._written = version, False
            return True

    def touch(self) -> None:
        """Make the next ``changed`` say yes."""
        with self.mutex:
            self._written = True

    @property
    def is_mine(self) -> bool:
        """Whether this process opened it; a forked child must not use its parent's connection."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Close the file; again is harmless."""
        with self.mutex:
            self._db.close()

    def _patiently(self, operation: Callable[[], Answer]) -> Answer:
        """Repeat while another process has the lock; SQLite's own handler sleeps up to 100 ms, this at most 5."""
        deadline = time.monotonic() + self._lock_timeout_s
        pause_s = 0.0002
        while True:
            try:
                return operation()
            except sqlite3.OperationalError as exc:
                if _primary_code(exc) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                if time.monotonic() >= deadline:
                    raise BrokerFileBusy(
                        str(self.path),
                        f"locked by another process for more than {self._lock_timeout_s:g} s;"
                        " find it with `fuser` on the file, or raise lock_timeout_s",
                    ) from exc
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, 0.005)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as exc:
            raise BrokerFileBusy(str(self.path), f"{exc}; connect again") from exc
        except sqlite3.Error as exc:
            raise _in_words(str(self.path), exc) from exc
