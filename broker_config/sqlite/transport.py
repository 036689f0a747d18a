"""A kombu transport on one SQLite file: ``sqlite:////absolute/path/broker.db``, nothing to install or start.

It behaves as RabbitMQ does where Ladle relies on it: topic, direct and fanout exchanges, mandatory publishes,
late acks, prefetch, redelivery with a count, dead-lettering, single active consumers, temporary queues, TTL.
Leaves out priorities, headers exchanges and exchange-to-exchange bindings. Processes must share a local disk:
neither ``flock`` nor SQLite's WAL works over a network file system.

Transport options: ``lock_timeout_s`` (30), ``delivery_limit`` (3), ``delivery_limits`` (queue name pattern to limit,
the policies of this broker), ``dead_letter_exchange`` ("ladle.dead").
"""

# kombu's base classes are annotated here and there, and wrongly where we override them.
# mypy: disable-error-code="no-untyped-call, override, assignment, union-attr"

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from queue import Empty
from typing import Any

from amqp.exceptions import ConnectionError as AMQPConnectionError
from amqp.exceptions import ConsumerCancelled
from kombu.transport import TRANSPORT_ALIASES, virtual

from broker_config.sqlite.channel import Channel
from broker_config.sqlite.file import BrokerFileBusy, BrokerFileError, BrokerFileFull
from broker_config.sqlite.queue import QueueSession
from broker_config.sqlite.topology import EXCHANGE_TYPES

SCHEME = "sqlite"
OPTIONS = ("lock_timeout_s", "delivery_limit", "delivery_limits", "dead_letter_exchange")
FASTEST_POLL_S = 0.001
SLOWEST_POLL_S = 0.005


def register() -> None:
    """Make ``sqlite://`` known to kombu; again is harmless."""
    TRANSPORT_ALIASES[SCHEME] = "broker_config.sqlite.transport:Transport"


def path_of(url: str) -> Path:
    """The broker file of a URL: three slashes before a relative path, four before an absolute one.

    Raises:
        ValueError: Not such a URL.
    """
    prefix = f"{SCHEME}:///"
    if not url.startswith(prefix) or url == prefix:
        raise ValueError(f"broker URL {url!r}: write {prefix}/absolute/path/broker.db")
    return Path(url.removeprefix(prefix)).absolute()


class Transport(virtual.Transport):
    """One connection to a broker file."""

    Channel = Channel
    can_parse_url = True
    driver_type = "sqlite"
    driver_name = "sqlite3"
    # A damaged file is in neither tuple: reconnecting does not mend it.
    connection_errors = (AMQPConnectionError, BrokerFileBusy, BrokerFileFull)
    recoverable_connection_errors = connection_errors
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(exchange_type=EXCHANGE_TYPES, batch_publish=True)

    session: QueueSession

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self._wakeup = threading.Event()
        self._interrupted = False
        self._failure: BrokerFileError | None = None

    def driver_version(self) -> str:
        """Version of the SQLite library."""
        return sqlite3.sqlite_version

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL itself: it holds no password."""
        return uri

    def establish_connection(self) -> Transport:
        """Open the broker file."""
        options = self.client.transport_options
        self.session = QueueSession(
            path_of(self.client.hostname), **{name: options[name] for name in OPTIONS if name in options}
        )
        super().establish_connection()
        return self

    def verify_connection(self, connection: Transport) -> bool:
        """Whether it was opened by this very process."""
        return self.session.file.is_mine

    def close_connection(self, connection: Transport) -> None:
        """Close the channels, give back what they held, remove this connection's temporary queues."""
        try:
            super().close_connection(connection)
        finally:
            self.session.close()

    def wake(self) -> None:
        """Make a waiting ``drain_events`` look again at once."""
        self.session.file.touch()
        self._wakeup.set()

    def fail(self, failure: BrokerFileError) -> None:
        """Make ``drain_events`` raise, so that its caller connects again."""
        self._failure = failure
        self.wake()

    def interrupt(self) -> None:
        """Deliver nothing more; a ``drain_events`` under way ends. Only a flag, as signal handlers may take no lock."""
        self._interrupted = True

    def drain_events(self, connection: Transport, timeout: float | None = None) -> None:
        """Deliver one message, waiting for it up to ``timeout`` seconds.

        Looks for commits of other processes every 1 ms after work and every 5 ms when idle.

        Raises:
            TimeoutError: Nothing came, or it was interrupted.
            BrokerFileError: The file could not be used, now or for an ack.
            ConsumerCancelled: A queue was deleted under its consumer; connecting again declares it again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause_s = FASTEST_POLL_S
        while True:
            self._wakeup.clear()
            if self._failure is not None:
                raise self._failure
            self.session.reap_if_due()
            if self.session.file.changed() and not self._interrupted:
                try:
                    self.cycle.get(self._deliver)
                except Empty:
                    pass
                else:
                    self.session.file.touch()  # there may be more
                    return
                if not self.session.consumers_are_known():
                    raise ConsumerCancelled("a queue was deleted under its consumer")
            remaining_s = pause_s if deadline is None else min(pause_s, deadline - time.monotonic())
            if remaining_s <= 0 or self._interrupted:
                raise TimeoutError
            self._wakeup.wait(remaining_s)
            pause_s = min(1.1 * pause_s, SLOWEST_POLL_S)
