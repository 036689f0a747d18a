"""A Celery task that takes all messages that have arrived, at once.

Handled one by one, each message would cost a transaction and several broker round trips. While one batch is worked on,
arriving messages gather for the next: an idle planner answers at once, a busy one shares its costs. Messages are
acknowledged after their batch is committed; if the ledger is down they simply stay unacknowledged until it is back.

Source: https://docs.celeryq.dev/en/stable/reference/celery.app.task.html (Task.Strategy)
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Task
from celery.worker.consumer import Consumer

from broker_config.errors import BrokerUnavailableError
from planner.errors import DatabaseUnavailableError, StoreUnavailableError

logger = logging.getLogger(__name__)

RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
OUTAGES = (DatabaseUnavailableError, StoreUnavailableError, BrokerUnavailableError)


@dataclass(frozen=True)
class Delivery:
    """One message of a batch and how to answer the broker for it."""

    kwargs: Mapping[str, Any]
    ack: Callable[[], None]
    requeue: Callable[[], None]


class BatchTask(Task):
    """Base class: `run` gets the keyword arguments of every message of the batch as a list.

    `bury` is called with a message's arguments and a reason when that message alone makes `run` fail.
    """

    abstract = True
    Strategy = "planner.batch:gather"
    bury: Callable[[str, Mapping[str, Any], str], None]
    stopping = threading.Event()

    def run(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Handle the messages of one batch, in order of arrival."""
        raise NotImplementedError

    def run_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Run one batch to its end, waiting out outages, and answer the broker."""
        for pause_s in _pauses():
            try:
                self.run([delivery.kwargs for delivery in deliveries])
            except OUTAGES as exc:
                logger.error("%d %s messages wait: %s", len(deliveries), self.name, exc)
                if self.stopping.wait(pause_s):
                    for delivery in deliveries:
                        delivery.requeue()
                    return
            except Exception as exc:  # noqa: BLE001  # the outermost loop: whatever a message does, the planner lives
                self._run_singly(deliveries, exc)
                return
            else:
                for delivery in deliveries:
                    delivery.ack()
                return

    def _run_singly(self, deliveries: Sequence[Delivery], exc: Exception) -> None:
        """Find the message that fails: run each alone; one that still fails is buried."""
        if len(deliveries) > 1:
            for delivery in deliveries:
                self.run_deliveries([delivery])
            return
        logger.error("%s failed", self.name, exc_info=exc)
        reason = traceback.format_exception_only(exc)[-1].strip()
        type(self).bury(self.name, deliveries[0].kwargs, f"{self.name} failed: {reason}")
        deliveries[0].ack()


def _pauses() -> Any:
    yield from RETRY_PAUSES_S
    while True:
        yield RETRY_PAUSES_S[-1]


class _Gatherer:
    """Collects deliveries of one task; at most one batch is in the pool at a time."""

    def __init__(self, task: BatchTask, consumer: Consumer) -> None:
        self._task = task
        self._pool = consumer.pool
        self._lock = threading.Lock()
        self._arrived: deque[Delivery] = deque()
        self._is_working = False

    def add(self, delivery: Delivery) -> None:
        with self._lock:
            self._arrived.append(delivery)
            if self._is_working:
                return
            self._is_working = True
        self._pool.apply_async(self._work)

    def _work(self) -> None:
        with self._lock:
            deliveries = list(self._arrived)
            self._arrived.clear()
        try:
            if deliveries:
                self._task.run_deliveries(deliveries)
        finally:
            with self._lock:
                self._is_working = bool(self._arrived)
            if self._is_working:
                self._pool.apply_async(self._work)


def gather(task: BatchTask, _app: Any, consumer: Consumer) -> Callable[..., None]:
    """Return the handler of one task's messages (`celery.worker.strategy` explains the interface)."""
    gatherer = _Gatherer(task, consumer)
    errors = consumer.connection_errors

    def on_message(message: Any, _body: Any, ack: Any, reject: Any, _callbacks: Any, **_options: Any) -> None:
        _args, kwargs, _embed = message.payload
        gatherer.add(
            Delivery(
                kwargs=kwargs,
                ack=lambda: ack(logger, errors),
                requeue=lambda: reject(logger, errors, requeue=True),
            )
        )

    return on_message
