"""The kombu channel of a broker file: AMQP's verbs, unacknowledged messages, batches.

Leaves out connections and waiting for messages (``transport``).
"""

# kombu's base classes are annotated here and there, and wrongly where we override them.
# mypy: disable-error-code="no-untyped-call, override, assignment, union-attr"

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any, Protocol

from amqp.exceptions import PreconditionFailed
from amqp.protocol import queue_declare_ok_t
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.uuid import uuid

from broker_config.sqlite import topology
from broker_config.sqlite.file import BrokerFileError
from broker_config.sqlite.message import Outgoing
from broker_config.sqlite.queue import QueueSession


class Link(Protocol):
    """What a channel needs of the transport it runs over."""

    session: QueueSession

    def wake(self) -> None:
        """Look for messages again at once."""
        ...

    def fail(self, failure: BrokerFileError) -> None:
        """End the connection, so that its user connects again."""
        ...


class QoS(virtual.QoS):
    """Unacknowledged messages of one channel; the pool's threads ack while the consumer's thread claims."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count
        self._session = channel.session
        self._transport = channel.connection
        self._unacked: dict[int, Any] = {}

    def can_consume(self) -> bool:
        """Whether the prefetch count leaves room."""
        return not self.prefetch_count or len(self._unacked) < self.prefetch_count

    def append(self, message: Any, delivery_tag: int) -> None:
        """Note a delivery."""
        self._unacked[delivery_tag] = message

    def get(self, delivery_tag: int) -> Any:
        """The unacknowledged message of a tag."""
        return self._unacked[delivery_tag]

    def ack(self, delivery_tag: int) -> None:
        """Delete the message."""
        with self._settling(delivery_tag):
            self._session.ack(delivery_tag)

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Give the message back, or dead-letter it."""
        with self._settling(delivery_tag):
            self._session.reject(delivery_tag, requeue=requeue)

    @contextmanager
    def _settling(self, delivery_tag: int) -> Iterator[None]:
        try:
            yield
        except BrokerFileError as exc:
            # Celery only logs this. Unless the connection goes, the message would fill the prefetch for ever.
            self._transport.fail(exc)
            raise
        self._unacked.pop(delivery_tag, None)
        self._transport.wake()

    def restore_unacked(self) -> None:
        """Give everything back at once."""
        unacked, self._unacked = self._unacked, {}
        if unacked and self._session.file.is_mine:
            self._session.release(unacked)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give everything back when the channel closes."""
        self.restore_unacked()


class Channel(virtual.Channel):
    """A channel whose exchanges, queues and bindings live in the broker file."""

    QoS = QoS
    supports_fanout = True
    body_encoding = None  # bodies are stored as bytes

    def __init__(self, connection: Link, **options: Any) -> None:
        super().__init__(connection, **options)
        self.session = connection.session
        self._no_ack: set[str] = set()

    def prepare_queue_arguments(self, arguments: dict[str, Any], **options: Any) -> Any:
        """Queue arguments as RabbitMQ names them."""
        return to_rabbitmq_queue_arguments(arguments, **options)

    def exchange_declare(self, exchange: str, type: str = "direct", passive: bool = False, **_: Any) -> None:
        """Make or check an exchange; passive: only ask for it."""
        if passive:
            self.session.change(topology.require_exchange, exchange)
        else:
            self.session.change(topology.declare_exchange, exchange, type or "direct")

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        """Remove an exchange and its bindings."""
        self.session.change(topology.delete_exchange, exchange)

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        arguments: dict[str, Any] | None = None,
        **_: Any,
    ) -> queue_declare_ok_t:
        """Make or check a queue; passive: only ask for its ready messages and consumers."""
        name = queue or f"amq.gen-{uuid()}"
        if passive:
            self.session.reap_if_due()  # the dead count no more, even when nobody else is there to notice
            self.session.change(topology.require_queue, name)
        else:
            self.session.declare_queue(
                name, durable=durable, exclusive=exclusive, auto_delete=auto_delete, arguments=arguments or {}
            )
        return queue_declare_ok_t(name, *self.session.counts(name))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any) -> None:
        """Remove a queue with its messages and bindings.

        Raises:
            PreconditionFailed: ``if_unused`` and it has consumers, or ``if_empty`` and it has messages (406).
        """
        ready, consumers = self.session.counts(queue)
        if (if_unused and consumers) or (if_empty and ready):
            raise PreconditionFailed(
                f"PRECONDITION_FAILED - queue '{queue}' has {ready} messages, {consumers} consumers",
                (50, 40),
                "Queue.delete",
                406,
            )
        self.session.change(topology.delete_queue, queue)

    def queue_bind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        """Bind a queue to an exchange."""
        self.session.change(topology.bind, queue, exchange, routing_key or "")

    def queue_unbind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        """Remove a binding."""
        self.session.change(topology.unbind, queue, exchange, routing_key or "")

    def list_bindings(self) -> Iterable[tuple[str, str, str]]:
        """Every (queue, exchange, routing key)."""
        return self.session.file.read("SELECT queue, exchange, routing_key FROM binding")

    def _purge(self, queue: str) -> int:
        return self.session.purge(queue)

    def _size(self, queue: str) -> int:
        return self.session.counts(queue)[0]

    def basic_publish(
        self, message: dict[str, Any], exchange: str = "", routing_key: str = "", mandatory: bool = False, **_: Any
    ) -> None:
        """Store a message; returning is the confirm.

        Raises:
            ChannelError: Mandatory and unroutable (reply code 312).
            NotFound: No such exchange (404).
        """
        self.publish_all([self.outgoing(message, exchange, routing_key, mandatory)])

    def publish_all(self, messages: Iterable[Outgoing]) -> None:
        """Store messages, all or none."""
        self.session.publish(messages)
        self.connection.wake()

    def outgoing(self, message: dict[str, Any], exchange: str, routing_key: str, mandatory: bool) -> Outgoing:
        """A prepared message as the session stores it."""
        envelope = {key: message[key] for key in ("content-type", "content-encoding", "headers", "properties")}
        envelope["properties"]["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
        body = message["body"]
        return Outgoing(
            envelope=envelope,
            body=body.encode() if isinstance(body, str) else bytes(body),
            exchange=exchange,
            routing_key=routing_key,
            mandatory=mandatory,
        )

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Batch of ``kombu.Producer.batch``: many messages for one transaction and one wait for the disk."""
        return PublishBatch(self, max_size)

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **options: Any) -> None:
        """Start reading a queue."""
        self.session.consume(queue, self._tag(consumer_tag))
        if no_ack:
            self._no_ack.add(queue)
        super().basic_consume(queue, no_ack, callback, consumer_tag, **options)
        self.connection.wake()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop reading a queue; what was claimed stays claimed."""
        if consumer_tag in self._consumers:
            self._no_ack.discard(self._tag_to_queue[consumer_tag])
            super().basic_cancel(consumer_tag)
            if self.session.file.is_mine:
                self.session.cancel(self._tag(consumer_tag))

    def _tag(self, consumer_tag: str) -> str:
        # Consumer tags are unique per channel only.
        return f"{self.channel_id}.{consumer_tag}"

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:
        """One message, or None."""
        try:
            message = self.Message(self._get(queue, no_ack=no_ack), channel=self)
        except Empty:
            return None
        if not no_ack:
            self.qos.append(message, message.delivery_tag)
        return message

    def _get(self, queue: str, timeout: float | None = None, *, no_ack: bool | None = None) -> dict[str, Any]:
        """Claim the next message of a queue in the form that ``virtual.Message`` reads."""
        claimed = self.session.claim(queue, no_ack=queue in self._no_ack if no_ack is None else no_ack)
        if claimed is None:
            raise Empty
        envelope = claimed.envelope
        envelope["body"] = claimed.body
        envelope["headers"]["x-delivery-count"] = claimed.earlier_deliveries
        envelope["properties"]["delivery_tag"] = claimed.id
        envelope["properties"]["delivery_info"]["redelivered"] = claimed.earlier_deliveries > 0
        return envelope

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Change how many unacknowledged messages this channel may hold."""
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        self.connection.wake()


class PublishBatch:
    """Messages that ``kombu.Producer.batch`` collects; each flush stores all of them or none.

    Args:
        channel: Where they go.
        max_size: Flush whenever so many are waiting.
    """

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        self._waiting: list[Outgoing] = []

    def publish(
        self, message: dict[str, Any], exchange: str = "", routing_key: str = "", mandatory: bool = False, **_: Any
    ) -> None:
        """Collect a message; raises at once when no queue takes it, see ``Channel.basic_publish``."""
        outgoing = self.channel.outgoing(message, exchange, routing_key, mandatory)
        self.channel.session.require_route(outgoing)
        self._waiting.append(outgoing)
        if len(self._waiting) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Store what was collected."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.channel.publish_all(waiting)

    def discard(self) -> None:
        """Forget what was collected."""
        self._waiting.clear()

    close = discard
