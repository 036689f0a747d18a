"""Exchanges, queues, bindings and consumers of a broker file, and which queues a message goes to.

Leaves out the messages themselves (``queue``). Every function takes part in the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from amqp.exceptions import NotFound, PreconditionFailed, ResourceLocked

from broker_config.sqlite.file import SqlRow

EXCHANGE_TYPES = frozenset({"direct", "topic", "fanout"})


def topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether a topic pattern, split at its dots, fits a routing key: ``*`` one word, ``#`` zero or more.

    Source: AMQP 0-9-1, 3.1.3.3 "The topic exchange type".
    """
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and topic_matches(pattern[1:], words[1:])


@dataclass(kw_only=True)
class Exchange:
    """One exchange with its bindings, those without wildcards apart for speed with thousands of nodes."""

    type: str
    exact: dict[str, list[str]] = field(default_factory=dict)
    patterns: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def bind(self, routing_key: str, queue: str) -> None:
        """Add a binding."""
        words = tuple(routing_key.split("."))
        if self.type == "fanout":
            self.patterns.append((("#",), queue))
        elif self.type == "topic" and {"*", "#"} & set(words):
            self.patterns.append((words, queue))
        else:
            self.exact.setdefault(routing_key, []).append(queue)

    def route(self, routing_key: str) -> set[str]:
        """Names of the queues that get a message with this key."""
        words = tuple(routing_key.split("."))
        return {*self.exact.get(routing_key, ()), *(q for p, q in self.patterns if topic_matches(p, words))}


@dataclass(frozen=True, kw_only=True)
class Topology:
    """What is declared, as of one version."""

    version: int
    exchanges: Mapping[str, Exchange]
    message_ttl_s: Mapping[str, float | None]

    def route(self, exchange: str, routing_key: str) -> set[str]:
        """Names of the queues that get a message; the nameless exchange routes to the queue of that name.

        Raises:
            NotFound: No such exchange (404, as RabbitMQ answers).
        """
        if not exchange:
            return {routing_key} & self.message_ttl_s.keys()
        try:
            return self.exchanges[exchange].route(routing_key)
        except KeyError:
            raise NotFound(f"NOT_FOUND - no exchange '{exchange}'", (60, 40), "Basic.publish", 404) from None


def load(read: Callable[[str], list[SqlRow]], known: Topology | None) -> Topology:
    """The current topology; ``known`` again when nothing changed since.

    Args:
        read: Gives the rows of a query.
        known: What was loaded before.
    """
    ((version,),) = read("SELECT version FROM topology")
    if known is not None and known.version == version:
        return known
    exchanges = {name: Exchange(type=kind) for name, kind in read("SELECT name, type FROM exchange")}
    for exchange, routing_key, queue in read("SELECT exchange, routing_key, queue FROM binding"):
        exchanges[exchange].bind(routing_key, queue)
    ttl: dict[str, float | None] = dict(read("SELECT name, message_ttl_s FROM queue"))
    return Topology(version=version, exchanges=exchanges, message_ttl_s=ttl)


def _changed(db: sqlite3.Connection) -> None:
    db.execute("UPDATE topology SET version = version + 1")


def declare_exchange(db: sqlite3.Connection, name: str, kind: str) -> None:
    """Make an exchange, or check the one there is.

    Raises:
        PreconditionFailed: It exists with another type, or the type is unknown (406).
    """
    found = db.execute("SELECT type FROM exchange WHERE name = ?", (name,)).fetchone()
    if found is None and kind in EXCHANGE_TYPES:
        db.execute("INSERT INTO exchange VALUES (?, ?)", (name, kind))
        _changed(db)
    elif found != (kind,):
        raise PreconditionFailed(
            f"PRECONDITION_FAILED - exchange '{name}': type '{kind}' asked, {found[0] if found else 'unknown type'}",
            (40, 10),
            "Exchange.declare",
            406,
        )


def require_exchange(db: sqlite3.Connection, name: str) -> None:
    """Raise NotFound (404) unless the exchange exists."""
    if db.execute("SELECT 1 FROM exchange WHERE name = ?", (name,)).fetchone() is None:
        raise NotFound(f"NOT_FOUND - no exchange '{name}'", (40, 10), "Exchange.declare", 404)


def delete_exchange(db: sqlite3.Connection, name: str) -> None:
    """Remove an exchange and its bindings."""
    db.execute("DELETE FROM exchange WHERE name = ?", (name,))
    db.execute("DELETE FROM binding WHERE exchange = ?", (name,))
    _changed(db)


def _seconds(arguments: Mapping[str, Any], key: str) -> float | None:
    milliseconds = arguments.get(key)
    return None if milliseconds is None else milliseconds / 1000


def declare_queue(
    db: sqlite3.Connection,
    name: str,
    *,
    lease: str | None,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Mapping[str, Any],
) -> None:
    """Make a queue, or check the one there is.

    Args:
        db: Open write transaction.
        name: Queue name.
        lease: Lease of the declaring connection, for exclusive and auto-deleted queues.
        durable: Part of the declaration only: every queue without a lease stays.
        exclusive: Belongs to this connection and goes with it.
        auto_delete: Goes with its last consumer.
        arguments: ``x-message-ttl``, ``x-expires``, ``x-single-active-consumer`` are honoured.

    Raises:
        ResourceLocked: Exclusive to another living connection (405).
        PreconditionFailed: Exists with another declaration (406).
    """
    declaration = json.dumps([durable, exclusive, auto_delete, dict(arguments)], sort_keys=True, default=str)
    found = db.execute("SELECT declaration, exclusive, lease FROM queue WHERE name = ?", (name,)).fetchone()
    if found is None:
        db.execute(
            "INSERT INTO queue VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                declaration,
                exclusive,
                auto_delete,
                bool(arguments.get("x-single-active-consumer")),
                _seconds(arguments, "x-message-ttl"),
                _seconds(arguments, "x-expires"),
                time.time(),
                lease,
            ),
        )
        _changed(db)
    elif found[1] and found[2] != lease:
        raise ResourceLocked(
            f"RESOURCE_LOCKED - queue '{name}' is exclusive to another connection", (50, 10), "Queue.declare", 405
        )
    elif found[0] != declaration:
        raise PreconditionFailed(
            f"PRECONDITION_FAILED - queue '{name}': {declaration} asked, {found[0]} there:"
            " delete the queue or declare it as it is",
            (50, 10),
            "Queue.declare",
            406,
        )
    else:
        db.execute("UPDATE queue SET unused_since_s = ? WHERE name = ?", (time.time(), name))


def delete_queue(db: sqlite3.Connection, name: str) -> None:
    """Remove a queue with its messages, bindings and consumers."""
    db.execute("DELETE FROM queue WHERE name = ?", (name,))
    for table in ("message", "binding", "consumer"):
        db.execute(f"DELETE FROM {table} WHERE queue = ?", (name,))
    _changed(db)


def require_queue(db: sqlite3.Connection, name: str) -> None:
    """Raise NotFound (404) when the queue is not declared."""
    if db.execute("SELECT 1 FROM queue WHERE name = ?", (name,)).fetchone() is None:
        raise NotFound(f"NOT_FOUND - no queue '{name}'", (50, 10), "Queue.declare", 404)


def bind(db: sqlite3.Connection, queue: str, exchange: str, routing_key: str) -> None:
    """Bind a queue to an exchange; raises NotFound (404) when either is missing."""
    require_queue(db, queue)
    require_exchange(db, exchange)
    cursor = db.execute("INSERT OR IGNORE INTO binding VALUES (?, ?, ?)", (exchange, routing_key, queue))
    if cursor.rowcount:
        _changed(db)


def unbind(db: sqlite3.Connection, queue: str, exchange: str, routing_key: str) -> None:
    """Remove a binding; a missing one is no error."""
    db.execute(
        "DELETE FROM binding WHERE exchange = ? AND routing_key = ? AND queue = ?", (exchange, routing_key, queue)
    )
    _changed(db)


def add_consumer(db: sqlite3.Connection, queue: str, lease: str, tag: str) -> None:
    """Note that a connection reads a queue; the first one noted is the single active consumer."""
    require_queue(db, queue)
    db.execute("INSERT OR IGNORE INTO consumer (queue, lease, tag) VALUES (?, ?, ?)", (queue, lease, tag))
    db.execute("UPDATE queue SET unused_since_s = NULL WHERE name = ?", (queue,))


def remove_consumers(db: sqlite3.Connection, lease: str, tag: str | None = None) -> None:
    """Note that a connection reads a queue (``tag``) or all its queues no more; auto-deleted ones may go."""
    rows = db.execute(
        "DELETE FROM consumer WHERE lease = ? AND (? IS NULL OR tag = ?) RETURNING queue", (lease, tag, tag)
    ).fetchall()
    for (queue,) in rows:
        if db.execute("SELECT 1 FROM consumer WHERE queue = ?", (queue,)).fetchone() is None:
            db.execute("UPDATE queue SET unused_since_s = ? WHERE name = ?", (time.time(), queue))
            if db.execute("SELECT auto_delete FROM queue WHERE name = ?", (queue,)).fetchone() == (1,):
                delete_queue(db, queue)


def remove_leased(db: sqlite3.Connection, lease: str) -> None:
    """Remove what a closed or dead connection leaves: its consumers and its temporary queues."""
    remove_consumers(db, lease)
    leftover = db.execute(
        "SELECT name FROM queue WHERE lease = ? AND"
        " (exclusive OR NOT EXISTS (SELECT 1 FROM consumer WHERE queue = queue.name))",
        (lease,),
    ).fetchall()
    for (queue,) in leftover:
        delete_queue(db, queue)


IDLE_QUEUES = (
    "SELECT name FROM queue WHERE idle_expiry_s IS NOT NULL AND unused_since_s IS NOT NULL"
    " AND unused_since_s + idle_expiry_s < ?"
)
