"""Publishing with a promise: every message of a batch is confirmed by the broker, or reported as not sent.

Celery's own `apply_async` waits for one confirm per message. The planner sends many messages at once, so this channel
writes all of them and then waits for the confirms together (RabbitMQ: publisher confirms, mandatory publishes).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from broker_config.broker_errors import broker_error
from broker_config.errors import BrokerUnavailableError
from broker_config.topology import declare_exchanges
from broker_config.tracing import TRACEPARENT

logger = logging.getLogger(__name__)

NO_ROUTE = 312  # AMQP reply code of an unroutable mandatory message


@dataclass(frozen=True, kw_only=True)
class Post:
    """One message to publish.

    Attributes:
        task: name of the Celery task it calls; None for a plain JSON message (an event).
        task_id: Celery's id of the call; None for a random one.
        body: the task's keyword arguments, or the plain message; bytes are sent as they are.
        headers: of a message whose body is bytes.
        content_type: likewise; with its encoding ("utf-8", "binary").
        mandatory: report it as unroutable when no queue takes it.
        expires_s: seconds after which the broker may drop it.
        traceparent: W3C context of the job that it is about, which goes into its headers.
    """

    exchange: str
    routing_key: str
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, Any] | None = None
    content_type: tuple[str, str] | None = None
    task: str | None = None
    task_id: str | None = None
    mandatory: bool = False
    durable: bool = True
    expires_s: float | None = None
    traceparent: str | None = None


class Sender(Protocol):
    """What sends messages: `Publisher`, or `memory_publisher.MemoryPublisher` in tests."""

    def publish(self, posts: Sequence[Post]) -> list[Post]:
        """Send all `posts` and return the unroutable ones; see `Publisher.publish`."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Publisher:
    """A connection that only publishes. Safe to use from several threads; connects on first use and after errors."""

    def __init__(self, app: Celery, *, confirm_timeout_s: float) -> None:
        self._app = app
        self._confirm_timeout_s = confirm_timeout_s
        self._lock = threading.Lock()
        self._channel: _ConfirmingChannel | None = None

    def publish(self, posts: Sequence[Post]) -> list[Post]:
        """Publish all `posts`, wait until the broker has them, and return the unroutable ones.

        Raises:
            BrokerUnavailableError: not all were confirmed in time. Some may have arrived: sending again is safe, since
                every receiver recognises what it has already seen.
        """
        if not posts:
            return []
        with self._lock:
            fresh = self._channel is None
            try:
                return self._publish(posts)
            except BrokerUnavailableError:
                if fresh:
                    raise
                logger.info("publishing again over a new connection to %s", self._app.connection_for_write().as_uri())
            return self._publish(posts)

    def close(self) -> None:
        """Close the connection; the next `publish` opens a new one."""
        with self._lock:
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.close()

    def _publish(self, posts: Sequence[Post]) -> list[Post]:
        try:
            if self._channel is None:
                self._channel = _ConfirmingChannel(self._app, self._confirm_timeout_s)
            return self._channel.publish(posts)
        except Exception:  # whatever it was, the channel's confirms may no longer match what was sent
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.abandon()
            raise


class _ConfirmingChannel:
    """One connection and channel; unusable after its first error."""

    def __init__(self, app: Celery, confirm_timeout_s: float) -> None:
        self._app = app
        self._confirm_timeout_s = confirm_timeout_s
        options = {**app.conf.broker_transport_options, "confirm_publish": False}
        # A heartbeat needs a reader; a publisher that sits idle has none, and its confirm timeout notices a dead peer.
        self._connection: Connection = app.connection_for_write(heartbeat=0, transport_options=options)
        self._channel_errors = self._connection.channel_errors
        self._errors = (*self._connection.connection_errors, *self._channel_errors, OperationalError, OSError)
        self._outstanding: set[int] = set()
        self._nacked: list[int] = []
        self._returned: set[str] = set()
        try:
            self._connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=confirm_timeout_s)
            self._channel = self._connection.channel()
            self._pipelines = hasattr(self._channel, "confirm_select")
            # RabbitMQ lets a message name no other user than its sender, by which the planner knows whose it is.
            self._vouched = {"user_id": self._connection.info()["userid"]} if self._pipelines else {}
            if self._pipelines:
                self._channel.confirm_select()
                self._channel.events["basic_ack"].add(self._on_ack)
                self._channel.events["basic_nack"].add(self._on_nack)
                self._channel.events["basic_return"].add(self._on_return)
            self._producer = Producer(self._channel, serializer="json", auto_declare=False)
            declare_exchanges(self._channel)
        except self._errors as exc:
            self.abandon()
            raise broker_error(self._connection.as_uri(), exc) from exc
        self._sent = 0

    def publish(self, posts: Sequence[Post]) -> list[Post]:
        names = [str(uuid.uuid4()) for _ in posts]
        try:
            with self._producer.batch():
                for name, post in zip(names, posts, strict=True):
                    self._send(name, post)
            self._wait_for_confirms()
        except self._errors as exc:
            raise broker_error(self._connection.as_uri(), exc) from exc
        unroutable = [post for name, post in zip(names, posts, strict=True) if name in self._returned]
        self._returned.clear()
        return unroutable

    def close(self) -> None:
        """Close in order, waiting no longer than for a confirm: a broker frozen or under an alarm never answers."""
        if self._pipelines and self._connection.connected:
            self._connection.connection.transport.sock.settimeout(self._confirm_timeout_s)
        self._connection.release()

    def abandon(self) -> None:
        """Drop a connection that failed, without the closing handshake."""
        self._connection.collect()

    def _send(self, name: str, post: Post) -> None:
        headers = post.headers
        properties: dict[str, Any] = {"message_id": name, **self._vouched}
        body: Any = post.body
        if post.content_type is not None:
            properties["content_type"], properties["content_encoding"] = post.content_type
        if post.task is not None and not isinstance(post.body, bytes):
            message = self._app.amqp.create_task_message(post.task_id or name, post.task, (), dict(post.body))
            headers, body = message.headers, message.body
            properties |= message.properties
        if post.traceparent is not None:
            headers = {**(headers or {}), TRACEPARENT: post.traceparent}
        if post.expires_s is not None:
            properties["expiration"] = post.expires_s
        if self._pipelines:
            self._sent += 1
            self._outstanding.add(self._sent)
        try:
            self._producer.publish(
                body,
                exchange=post.exchange,
                routing_key=post.routing_key,
                headers=headers,
                mandatory=post.mandatory,
                delivery_mode="persistent" if post.durable else "transient",
                retry=False,
                **properties,
            )
        except self._channel_errors as exc:
            if getattr(exc, "reply_code", None) != NO_ROUTE:
                raise
            self._returned.add(name)

    def _wait_for_confirms(self) -> None:
        give_up = time.monotonic() + self._confirm_timeout_s
        while self._outstanding:
            try:
                self._connection.drain_events(timeout=max(give_up - time.monotonic(), 0.001))
            except TimeoutError:
                silence = f"no confirm within {self._confirm_timeout_s:g} s (disk or memory alarm?)"
                raise TimeoutError(silence) from None
        if self._nacked:
            raise OSError(f"the broker refused {len(self._nacked)} messages")

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._outstanding = {sent for sent in self._outstanding if sent > tag}
        else:
            self._outstanding.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._nacked.append(tag)
        self._on_ack(tag, multiple)

    def _on_return(self, _exc: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["message_id"])
