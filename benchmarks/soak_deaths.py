"""Which process dies when, in a soak: each kind of process at random times, by kill -9."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sized

from benchmarks.soak_watch import Watch
from broker_config.rabbitmq.private import NEW_QUEUE_S, PrivateRabbitMQ
from planner.cli.processes import Service

STEADY = "one"
"""The worker that is never killed."""
WORKER_EVERY_S, PLANNER_EVERY_S, BROKER_EVERY_S = 6.0, 12.0, 30.0
MIN_LIFE_S = 3.0  # a process that dies sooner has not begun to work
LOOK_EVERY_S = 0.2


class Deaths(Watch):
    """Kills until the block ends. Nothing is killed in the last tenth, so that the last jobs can end.

    Args:
        services: by name; their watcher restarts them.
        broker: killed and started here; None: it is left alone.
        chance: of times and victims.
        seconds: how long the soak lasts.

    Attributes:
        killed: how often each was.
        jobs: of the load, for the progress bar.
        watch: called several times a second.
    """

    def __init__(
        self, services: Mapping[str, Service], broker: PrivateRabbitMQ | None, chance: random.Random, seconds: float
    ) -> None:
        super().__init__("soak-deaths", LOOK_EVERY_S)
        self.killed: Counter[str] = Counter()
        self.jobs: Sized = ()
        self.watch: Callable[[], None] = lambda: None
        self._services = services
        self._broker = broker
        self._chance = chance
        self._began = time.monotonic()
        self._seconds = seconds
        self._every_s = {"worker": WORKER_EVERY_S, "planner": PLANNER_EVERY_S}
        if broker is not None:
            self._every_s["broker"] = min(BROKER_EVERY_S, seconds / 4)  # a short soak has one, too
        self._due = {what: self._next(what) for what in self._every_s}

    def look(self) -> None:
        """Kill the processes that are due."""
        self.watch()
        share = (time.monotonic() - self._began) / self._seconds
        if share > 0.9:
            return
        if self._is_due("worker"):
            self._kill(self._chance.choice([name for name in self._services if name not in (STEADY, "planner")]))
        if share < 0.5 and self._is_due("planner"):
            self._kill("planner")
        if self._broker is not None and self._is_due("broker"):
            self._broker.kill()
            self._broker.start()
            self.killed["broker"] += 1
            self._due["broker"] = self._next("broker")

    def _kill(self, name: str) -> None:
        service = self._services[name]
        if service.process is not None and time.monotonic() - service.started_at > MIN_LIFE_S:
            service.process.kill()
            self.killed[name] += 1

    def _is_due(self, what: str) -> bool:
        if time.monotonic() < self._due[what]:
            return False
        self._due[what] = self._next(what)
        return True

    def _next(self, what: str) -> float:
        """Return a random time; never so soon that RabbitMQ 3.10 would be hurt (`NEW_QUEUE_S`)."""
        return time.monotonic() + max(NEW_QUEUE_S, self._every_s[what] * self._chance.uniform(0.5, 1.5))
