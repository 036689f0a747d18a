"""A Celery task that handles all messages that have arrived as one batch.

Handled one by one, each message would cost a transaction and several broker round trips. While one batch is worked on,
the next one gathers: an idle planner answers at once, a busy one shares the cost among many messages. Messages are
acknowledged after their batch is committed; if the ledger is down they simply stay unacknowledged until it is back.

Source: https://docs.celeryq.dev/en/stable/reference/celery.app.task.html (Task.Strategy)
"""

from __future__ import annotations

import itertools
import logging
import threading
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from celery import Task

from broker_config.calls import RecordDeadLetter
from broker_config.consumer import KEPT_WELL_FORMED_BYTES, GuardedConsumer, dead_letter
from broker_config.errors import BrokerUnavailableError
from broker_config.rights import held_to
from planner.errors import DatabaseUnavailableError, PlacingFailedError, StoreUnavailableError
from planner.inbox.authorship import Received, overreach

logger = logging.getLogger(__name__)

RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
MAX_TRIES = 2  # of a message alone: what it met may have been gone a moment later
OUTAGES = (DatabaseUnavailableError, StoreUnavailableError, BrokerUnavailableError)


@dataclass(frozen=True)
class Delivery:
    """One message of a batch, and how to settle it with the broker.

    Attributes:
        received: its body, and whose it is.
        letter: makes a dead letter of it, given the reason.
        fault: why it must not run and becomes a dead letter; None if it may run.
    """

    received: Received
    ack: Callable[[], None]
    requeue: Callable[[], None]
    letter: Callable[[str], RecordDeadLetter]
    fault: str | None = None


class BatchTask(Task):
    """Base class: `run` gets what it received by every message of the batch as a list.

    `bury` is called with the dead letter of a message that alone makes `run` fail.
    """

    abstract = True
    Strategy = "planner.inbox.batch:gather"
    bury: Callable[[RecordDeadLetter], None]
    stopping = threading.Event()

    def run(self, calls: Sequence[Received]) -> None:
        """Handle the messages of one batch, in order of arrival."""
        raise NotImplementedError

    def run_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Run one batch, waiting until outages end, and settle its messages with the broker."""
        for pause_s in _pauses():
            try:
                for delivery in deliveries:
                    if delivery.fault is not None:
                        self._bury(delivery, delivery.fault)
                sound = [delivery for delivery in deliveries if delivery.fault is None]
                if sound:
                    self._run_or_bury(sound)
            except OUTAGES as exc:
                logger.error("%d %s messages wait: %s", len(deliveries), self.name, exc)
                if self.stopping.wait(pause_s):
                    for delivery in deliveries:
                        delivery.requeue()
                    return
            else:
                for delivery in deliveries:
                    delivery.ack()
                return

    def _run_or_bury(self, deliveries: Sequence[Delivery], tries: int = MAX_TRIES) -> None:
        """Run all of them; when that fails run each half, until the culprit stands alone and is buried."""
        try:
            self.run([delivery.received for delivery in deliveries])
        except OUTAGES:
            raise
        except PlacingFailedError:  # no message is to blame; the same turn taken again places nothing
            self._run_or_bury(deliveries, tries)
        except Exception as exc:  # the outermost loop: whatever a message does, the planner lives
            if len(deliveries) > 1:
                half = len(deliveries) // 2
                self._run_or_bury(deliveries[:half])
                self._run_or_bury(deliveries[half:])
            elif tries > 1:
                self._run_or_bury(deliveries, tries - 1)
            else:
                logger.exception("%s failed", self.name)
                reason = traceback.format_exception_only(exc)[-1].strip()
                self._bury(deliveries[0], f"{self.name} failed: {reason}")

    def _bury(self, delivery: Delivery, reason: str) -> None:
        """Keep a message as a dead letter; one that cannot be kept is dropped, so that its neighbours go on."""
        try:
            type(self).bury(delivery.letter(reason))
        except OUTAGES:
            raise
        except Exception:
            logger.exception("dropped: a message of %s that cannot be kept as a dead letter (%s)", self.name, reason)


def _pauses() -> Any:
    yield from RETRY_PAUSES_S
    while True:
        yield RETRY_PAUSES_S[-1]


class _Lane:
    """Deliveries of one exchange, in order of arrival; at most one batch is in the pool at a time.

    A `cancel` must not overtake the `submit` before it, so all tasks of an exchange share a lane, and a batch is a run
    of messages for the same task.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._arrived: deque[tuple[BatchTask, Delivery]] = deque()
        self._is_working = False

    def add(self, task: BatchTask, delivery: Delivery) -> None:
        with self._lock:
            self._arrived.append((task, delivery))
            if self._is_working:
                return
            self._is_working = True
        self._pool.apply_async(self._work)

    def _work(self) -> None:
        with self._lock:
            arrived = list(self._arrived)
            self._arrived.clear()
        try:
            for task, run in itertools.groupby(arrived, key=lambda item: item[0]):
                task.run_deliveries([delivery for _, delivery in run])
        finally:
            with self._lock:
                self._is_working = bool(self._arrived)
            if self._is_working:
                self._pool.apply_async(self._work)


_lanes: WeakKeyDictionary[GuardedConsumer, defaultdict[str, _Lane]] = WeakKeyDictionary()


def gather(task: BatchTask, _app: Any, consumer: GuardedConsumer) -> Callable[..., None]:
    """Return the handler of one task's messages (`celery.worker.strategy` explains the interface)."""
    pool = consumer.pool
    lanes = _lanes.setdefault(consumer, defaultdict(lambda: _Lane(pool)))
    errors = consumer.connection_errors
    knows_users = consumer.connection.transport.driver_type == "amqp"

    def on_message(message: Any, _body: Any, ack: Any, reject: Any, _callbacks: Any, **_options: Any) -> None:
        _args, kwargs, _embed = message.payload
        exchange, key = (str(message.delivery_info.get(name)) for name in ("exchange", "routing_key"))
        user = str(message.properties.get("user_id") or "") if knows_users else None
        lanes[exchange].add(
            task,
            Delivery(
                received=Received(kwargs, held_to(user) if user else None),
                fault=overreach(exchange, key, str(task.name), kwargs, user),
                ack=lambda: ack(logger, errors),
                requeue=lambda: reject(logger, errors, requeue=True),
                letter=lambda reason: dead_letter(
                    message, reason=reason, queue=consumer.queue_of(message), kept_bytes=KEPT_WELL_FORMED_BYTES
                ),
            ),
        )

    return on_message
