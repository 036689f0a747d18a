"""What the broker delivers to a planner: bytes, through the guard and the batches, to the real tasks."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from kombu import Connection
from kombu.message import Message
from planner_world import World
from still_pool import StillPool

from broker_config.calls import TO_PLANNER
from broker_config.consumer import CONTENT_TYPE, dead_letter, fault_of
from planner import celery as planner_app
from planner.inbox.batch import BatchTask, gather


class HandConsumer:
    """As much of a `GuardedConsumer` of a broker as batches see."""

    connection_errors = ()

    def __init__(self, pool: StillPool, broker_url: str) -> None:
        self.pool = pool
        self.connection = Connection(broker_url)  # never opened

    @staticmethod
    def queue_of(message: Message) -> str:
        return "outcomes" if message.delivery_info["exchange"] == "ladle.outcomes" else "planner"


class Inbox:
    """The queues of the planner of a world.

    A batch that would wait (for a database, say) gives its messages back instead.

    Args:
        world: whose planner it is.
        broker_url: of the broker that delivers.
        user: of that broker, who sends; None: the messages do not say.
    """

    def __init__(self, world: World, broker_url: str = "memory://", user: str | None = None) -> None:
        self._world = world
        self._pool = StillPool()
        consumer = HandConsumer(self._pool, broker_url)
        self._properties = {} if user is None else {"user_id": user}
        self._handlers = {name: gather(planner_app.app.tasks[name], planner_app.app, consumer) for name in TO_PLANNER}
        self.acknowledged: list[int] = []
        self.given_back: list[int] = []

    def deliver(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        """Deliver messages as one batch, each a task's name and its arguments, and work until nothing waits."""
        stopping = threading.Event()
        stopping.set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planner_app, "_running", self._world)
            patch.setattr(BatchTask, "stopping", stopping)
            for number, (task, arguments) in enumerate(calls):
                self._arrive(number, task, arguments)
            self._world.hand_out(self._pool.work)

    def _arrive(self, number: int, task: str, arguments: Mapping[str, Any]) -> None:
        call = TO_PLANNER[task]
        message = Message(
            json.dumps([[], arguments, {}]).encode(),
            content_type=CONTENT_TYPE,
            content_encoding="utf-8",
            headers={"task": task, "id": str(number)},
            properties=self._properties,
            delivery_info={"exchange": call.EXCHANGE.name, "routing_key": call.key_of(arguments)},
            accept={CONTENT_TYPE},
        )
        fault = fault_of(message, TO_PLANNER)
        if fault is None:
            self._handlers[task](
                message,
                None,
                lambda *_: self.acknowledged.append(number),
                lambda *_, **__: self.given_back.append(number),
                [],
            )
        else:
            letter = dead_letter(message, reason=fault, queue=HandConsumer.queue_of(message))
            self._arrive(number, letter.TASK, letter.wire())
