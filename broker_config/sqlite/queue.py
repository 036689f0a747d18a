"""Messages of a broker file under a lease: publish, claim, ack, requeue, dead-letter, and claims of the dead.

A message row is free (no lease) or claimed under the lease of a connection. It is deleted when acknowledged. When
the connection gives it back, or dies, it is free again in its old place, and ``deliveries`` has counted the attempt.
Leaves out kombu (``transport``) and what is declared (``topology``).
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from amqp.exceptions import ChannelError, NotFound, ResourceLocked

from broker_config.sqlite import topology
from broker_config.sqlite.file import BrokerFile, BrokerFileBusy
from broker_config.sqlite.lease import Lease, forget, is_held, lease_folder
from broker_config.sqlite.message import Claimed, Outgoing, certify

logger = logging.getLogger(__name__)

Changed = TypeVar("Changed")
NO_ROUTE = 312  # AMQP reply code of an unroutable mandatory message
REAP_INTERVAL_S = 0.4  # claims of a dead process are free again within half a second


class QueueSession:
    """What one connection does with a broker file. Safe to share between threads.

    Args:
        path: The broker file.
        lock_timeout_s: Longest wait for the write lock, in seconds.
        delivery_limit: A message given back more often than this is dead-lettered: 3 means 4 deliveries.
        delivery_limits: Other limits for the queues whose names match a regular expression; the first match counts.
        dead_letter_exchange: Where rejected and too often delivered messages go, under their own routing key.
            Without a queue bound there they are dropped with a warning, as RabbitMQ does silently.

    Raises:
        BrokerFileError: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout_s: float = 30.0,
        delivery_limit: int = 3,
        delivery_limits: Mapping[str, int] | None = None,
        dead_letter_exchange: str = "ladle.dead",
    ) -> None:
        self.file = BrokerFile(path, lock_timeout_s=lock_timeout_s)
        self._leases = lease_folder(path)
        self._delivery_limits = [*(delivery_limits or {}).items(), ("", delivery_limit)]
        self._dead_letter_exchange = dead_letter_exchange
        self._lease: Lease | None = None
        self._topology: topology.Topology | None = None
        self._consumers = 0
        self._next_reap = 0.0
        self._closed = False

    @property
    def lease(self) -> str:
        """Name of this connection's lease, taken when first needed: a mere publisher holds none."""
        with self.file.mutex:
            if self._closed:
                raise BrokerFileBusy(str(self.file.path), "this connection was closed; connect again")
            if self._lease is None:
                self._lease = Lease(self._leases)
            return self._lease.name

    def change(self, operation: Callable[..., Changed], *arguments: Any, **options: Any) -> Changed:
        """Run one function of ``topology`` in a transaction of its own."""
        with self.file.write() as db:
            return operation(db, *arguments, **options)

    def declare_queue(
        self, name: str, *, durable: bool, exclusive: bool, auto_delete: bool, arguments: Mapping[str, Any]
    ) -> None:
        """Make or check a queue; see ``topology.declare_queue`` for the errors."""
        lease = self.lease if exclusive or auto_delete else None
        options = {
            "lease": lease,
            "durable": durable,
            "exclusive": exclusive,
            "auto_delete": auto_delete,
            "arguments": arguments,
        }
        try:
            self.change(topology.declare_queue, name, **options)
        except ResourceLocked:
            self.reap()  # the other connection may have died a moment ago
            self.change(topology.declare_queue, name, **options)

    def counts(self, queue: str) -> tuple[int, int]:
        """Messages ready and consumers of a queue."""
        ((ready,),) = self.file.read(
            "SELECT count(*) FROM message WHERE queue = ? AND lease IS NULL AND (expires_s IS NULL OR expires_s > ?)",
            (queue, time.time()),
        )
        ((consumers,),) = self.file.read("SELECT count(*) FROM consumer WHERE queue = ?", (queue,))
        return ready, consumers

    def purge(self, queue: str) -> int:
        """Remove the messages that nobody has claimed; returns how many."""
        with self.file.write() as db:
            return db.execute("DELETE FROM message WHERE queue = ? AND lease IS NULL", (queue,)).rowcount

    def consume(self, queue: str, tag: str) -> None:
        """Say that this connection reads a queue."""
        self.reap()
        self.change(topology.add_consumer, queue, self.lease, tag)
        self._consumers += 1

    def cancel(self, tag: str) -> None:
        """Say that this connection reads a queue no more."""
        self.change(topology.remove_consumers, self.lease, tag)
        self._consumers -= 1

    def consumers_are_known(self) -> bool:
        """Whether no queue was deleted under its consumers here."""
        return self._consumers == 0 or self.file.read(
            "SELECT count(*) FROM consumer WHERE lease = ?", (self.lease,)
        ) == [(self._consumers,)]

    def require_route(self, message: Outgoing) -> None:
        """Raise as ``publish`` would for a message that no queue takes now."""
        self._queues_for(self._known(), message)

    def publish(self, messages: Iterable[Outgoing]) -> None:
        """Store messages, all or none, in every queue bound to their keys; persistent ones are on the disk on return.

        Raises:
            ChannelError: One is mandatory and no queue takes it: reply code 312, as py-amqp raises it.
            NotFound: No such exchange (404).
            BrokerFileError: Not stored.
        """
        messages = tuple(messages)
        with self.file.write(durable=any(message.is_persistent for message in messages)) as db:
            known = self._known()
            for message in messages:
                expiration = message.envelope["properties"].get("expiration")
                ttl_s = None if expiration is None else int(expiration) / 1000
                limits_s = {q: (ttl_s, known.message_ttl_s[q]) for q in self._queues_for(known, message)}
                self._store(db, limits_s, message.envelope, message.body)

    @staticmethod
    def _queues_for(known: topology.Topology, message: Outgoing) -> set[str]:
        queues = known.route(message.exchange, message.routing_key)
        if not queues and message.mandatory:
            raise ChannelError(
                f"NO_ROUTE - no queue is bound to exchange '{message.exchange}' with key '{message.routing_key}'",
                (60, 50),
                "Basic.return",
                NO_ROUTE,
            )
        return queues

    def _known(self) -> topology.Topology:
        with self.file.snapshot():  # or a binding may be read whose exchange was made after the exchanges were
            self._topology = topology.load(self.file.read, self._topology)
            return self._topology

    @staticmethod
    def _store(
        db: sqlite3.Connection,
        limits_s: Mapping[str, Iterable[float | None]],
        envelope: Mapping[str, Any],
        body: bytes,
    ) -> None:
        """Store one message per queue, each living as long as the shortest of its limits."""
        text = json.dumps(envelope, default=str)
        for queue, limits in limits_s.items():
            lifetime_s = min((limit for limit in limits if limit is not None), default=None)
            db.execute(
                "INSERT INTO message (queue, envelope, body, expires_s) VALUES (?, ?, ?, ?)",
                (queue, text, body, None if lifetime_s is None else time.time() + lifetime_s),
            )

    def claim(self, queue: str, *, no_ack: bool = False) -> Claimed | None:
        """The oldest free message of a queue, now owned by this connection (``no_ack``: deleted at once).

        None when there is none, or when another connection is the queue's single active consumer.
        """
        now = time.time()
        free = "queue = ? AND lease IS NULL AND (expires_s IS NULL OR expires_s > ?)"
        # A look first, so that idle and standby consumers never ask for the write lock.
        if not self.file.read(f"SELECT 1 FROM message WHERE {free} LIMIT 1", (queue, now)) or not self._may_read(queue):
            return None
        oldest = f"id = (SELECT id FROM message WHERE {free} ORDER BY id LIMIT 1)"
        columns = "RETURNING id, envelope, body, deliveries"
        with self.file.write() as db:
            if not self._may_read(queue):
                return None
            if no_ack:
                statement, values = f"DELETE FROM message WHERE {oldest} {columns}", (queue, now)
            else:
                statement = f"UPDATE message SET lease = ?, deliveries = deliveries + 1 WHERE {oldest} {columns}"
                values = (self.lease, queue, now)  # type: ignore[assignment]
            rows = db.execute(statement, values).fetchall()
        if not rows:
            return None  # another consumer was faster
        ((row, envelope, body, deliveries),) = rows
        return Claimed(id=row, envelope=json.loads(envelope), body=body, earlier_deliveries=max(deliveries - 1, 0))

    def _may_read(self, queue: str) -> bool:
        first = self.file.read(
            "SELECT consumer.lease FROM queue JOIN consumer ON consumer.queue = queue.name"
            " WHERE queue.name = ? AND queue.single_active ORDER BY consumer.id LIMIT 1",
            (queue,),
        )
        return first in ([], [(self.lease,)])

    def ack(self, message: int) -> None:
        """Delete a claimed message; one that was meanwhile given to another is left alone."""
        with self.file.write() as db:
            gone = db.execute("DELETE FROM message WHERE id = ? AND lease = ?", (message, self.lease)).rowcount == 0
        if gone:
            logger.warning("message %s was acknowledged after its claim had ended", message)

    def reject(self, message: int, *, requeue: bool) -> None:
        """Give a claimed message back, or dead-letter it."""
        with self.file.write() as db:
            if requeue:
                self._free(db, [message], self.lease)
            else:
                self._bury(db, message, self.lease, "rejected")

    def release(self, messages: Iterable[int]) -> None:
        """Give claimed messages back at once, as a closing channel does."""
        with self.file.write() as db:
            self._free(db, messages, self.lease)

    def _free(self, db: sqlite3.Connection, messages: Iterable[int], lease: str) -> None:
        for message in messages:
            claim = (message, lease)
            row = db.execute("SELECT queue, deliveries FROM message WHERE id = ? AND lease = ?", claim).fetchone()
            if row is None:
                continue
            queue, deliveries = row
            if deliveries > next(limit for pattern, limit in self._delivery_limits if re.search(pattern, queue)):
                self._bury(db, message, lease, "delivery_limit")
            else:
                db.execute("UPDATE message SET lease = NULL WHERE id = ?", (message,))

    def _bury(self, db: sqlite3.Connection, message: int, lease: str, reason: str) -> None:
        """Move a claimed message to the dead-letter exchange with an ``x-death`` header, as RabbitMQ writes it."""
        row = db.execute(
            "DELETE FROM message WHERE id = ? AND lease = ? RETURNING queue, envelope, body", (message, lease)
        ).fetchone()
        if row is None:
            return
        queue, text, body = row
        envelope = json.loads(text)
        routing_key = envelope["properties"]["delivery_info"]["routing_key"]
        certify(envelope, queue=queue, reason=reason, exchange=self._dead_letter_exchange)
        known = self._known()
        try:
            # A message that dies in the dead-letter queue itself ends there, or it would go round for ever.
            graves = known.route(self._dead_letter_exchange, routing_key) - {queue}
        except NotFound:
            graves = set()
        if not graves:
            logger.warning("message %s of queue %r dropped (%s): no dead-letter queue takes it", message, queue, reason)
        self._store(db, {grave: (known.message_ttl_s[grave],) for grave in graves}, envelope, body)

    def reap_if_due(self) -> None:
        """Reap at most every ``REAP_INTERVAL_S``."""
        if time.monotonic() >= self._next_reap:
            self.reap()

    def reap(self) -> None:
        """Free the claims of dead connections, remove their temporary queues, and drop what has expired."""
        self._next_reap = time.monotonic() + REAP_INTERVAL_S
        leases = {
            lease
            for (lease,) in self.file.read(
                "SELECT lease FROM message WHERE lease IS NOT NULL UNION SELECT lease FROM consumer"
                " UNION SELECT lease FROM queue WHERE lease IS NOT NULL"
            )
        }
        dead = [lease for lease in leases if not is_held(self._leases, lease)]
        now = time.time()
        stale = "lease IS NULL AND expires_s <= ?"
        expired = self.file.read(f"SELECT 1 FROM message WHERE {stale} LIMIT 1", (now,))
        idle = self.file.read(topology.IDLE_QUEUES, (now,))
        if not (dead or expired or idle):
            return
        with self.file.write() as db:
            for lease in dead:
                self._retire(db, lease)
            db.execute(f"DELETE FROM message WHERE {stale}", (now,))
            for (queue,) in db.execute(topology.IDLE_QUEUES, (now,)).fetchall():
                topology.delete_queue(db, queue)
        for lease in dead:
            forget(self._leases, lease)

    def _retire(self, db: sqlite3.Connection, lease: str) -> None:
        topology.remove_leased(db, lease)
        claims = db.execute("SELECT id FROM message WHERE lease = ? ORDER BY id", (lease,)).fetchall()
        self._free(db, [message for (message,) in claims], lease)

    def close(self) -> None:
        """Give back every claim, remove the temporary queues, free the lease. Again is harmless."""
        if not self.file.is_mine:
            return
        self._closed = True
        lease, self._lease = self._lease, None
        try:
            if lease is not None:
                with self.file.write() as db:
                    self._retire(db, lease.name)
        finally:
            # Should the file be locked or broken: the freed lease tells the others all the same.
            if lease is not None:
                lease.release()
            self.file.close()
