"""Arms of a live benchmark: placers side by side at the same time, over one private RabbitMQ, a virtual host for each.

All arms run at once, so that whatever else the machine does affects all of them. Processes, messages and ledgers are
real; nodes are emulated, which means that they mostly sleep.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import psutil

from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import Settings
from planner.cli.bench.load import Arrival, EmulatedNode
from planner.cli.bench.run import Measured, run


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What an arm measured.

    Attributes:
        jobs: as they arrived.
        planner_share: processor time of the planner over wall time, from the first result to the last; 0 without one.
        notes: what the arm's `look` returned.
    """

    jobs: Sequence[Measured]
    planner_share: float
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One placer, its nodes and jobs.

    Attributes:
        beside: commands of further processes, by name. look: called at the end, while the ledger is still there; both
            travel to a process of their own.
    """

    placer: str
    settings: Settings
    nodes: Sequence[EmulatedNode]
    jobs: Sequence[Arrival]
    load_s: float
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    look: Callable[[Settings], list[str]] | None = None

    def measure(self) -> Taken:
        """Run it."""
        notes: list[str] = []
        meter = PlannerMeter()

        def after(settings: Settings) -> None:
            if self.look is not None:
                notes.extend(self.look(settings))

        jobs = run(self.settings, self.placer, self.nodes, self.jobs, self.load_s, meter.read, self.beside, after)
        return Taken(jobs=jobs, planner_share=meter.share, notes=notes)


class PlannerMeter:
    """Reads the processor time of the planner among this process's children at each result."""

    def __init__(self) -> None:
        self._planner: psutil.Process | None = None
        self._first = self._last = (0.0, 0.0)

    def read(self, _results: int) -> None:
        """Note the time by the wall and by the processor."""
        if self._first == (0.0, 0.0):
            planners = [child for child in psutil.Process().children() if "planner" in child.cmdline()]
            self._planner = planners[0] if planners else None
            self._first = self._now()
        self._last = self._now()

    @property
    def share(self) -> float:
        """Return the share of one processor from the first reading to the last."""
        wall_s, used_s = (last - first for last, first in zip(self._last, self._first, strict=True))
        return used_s / wall_s if wall_s > 0.0 else 0.0

    def _now(self) -> tuple[float, float]:
        times = self._planner.cpu_times() if self._planner is not None else None
        return time.monotonic(), 0.0 if times is None else times.user + times.system


def new_vhost(broker: PrivateRabbitMQ, name: str) -> str:
    """Return the URL of a new virtual host."""
    broker.rabbitmqctl("add_vhost", name)
    broker.rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
    return broker.url.removesuffix("/") + name


def measure_all(arms: Mapping[str, Arm]) -> Iterator[tuple[str, Taken]]:
    """Run all arms at the same time, each in a process of its own, and yield what each measured by its name."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(arms), mp_context=context) as pool:
        yield from zip(arms, pool.map(Arm.measure, arms.values()), strict=True)
