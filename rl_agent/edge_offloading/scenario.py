"""The parameters that an episode of the paper's model is drawn from, and its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Variant = Literal["paper", "published"]

# Ranges of the paper's table of parameters: uniform, input size d, density rho per image step, and result size.
SLOT_S = 1.0
DATA_MBIT = (2.0, 5.0)
DENSITY_GCYCLES = (0.1024, 0.3072)
RESULT_MBIT = (0.6, 1.0)


@dataclass(frozen=True, kw_only=True)
class OffloadingScenario:
    """Parameters of the paper's model; the defaults are the paper's headline setting.

    Attributes:
        n_servers: B, edge servers; each is also the ingress of its own tasks.
        n_tasks: N; in every slot 1..N tasks arrive at every server, uniformly.
        n_slots: scheduled slots of one second each.
        max_image_steps: image steps are integers in [1, max_image_steps).
        capacity_gcycles_s: smallest and largest capacity; integers drawn uniformly, both ends included.
        rate_mbit_s: smallest and largest transfer rate, drawn in the same way.
        server_seed: seed of the capacities and rates, which stay the same in all episodes. The default draws a total of
            647 Gcycles/s for 20 servers: load 0.487, 0.736, 0.973, 1.211 at N = 20, 30, 40, 50.
        variant: ``paper`` draws every quantity for every task. ``published`` draws density, image steps and result size
            once per task number and from one random number, so that they correlate perfectly.

    Source: arXiv 2412.18212, section on the system model, and the table of parameters.
    """

    n_servers: int = 20
    n_tasks: int = 50
    n_slots: int = 59
    max_image_steps: int = 15
    capacity_gcycles_s: tuple[int, int] = (10, 50)
    rate_mbit_s: tuple[int, int] = (400, 500)
    server_seed: int = 93
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        for name in ("n_servers", "n_tasks", "n_slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: use at least 1")
        if self.max_image_steps < 2:
            raise ValueError(f"max_image_steps is {self.max_image_steps}: the end is excluded, use at least 2")
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant {self.variant!r} is unknown: use one of {get_args(Variant)}")

    @cached_property
    def capacity(self) -> FloatArray:
        """Capacities f_b in Gcycles/s, shape (n_servers,)."""
        low, high = self.capacity_gcycles_s
        return np.random.default_rng(self.server_seed).integers(low, high + 1, self.n_servers).astype(np.float64)

    @cached_property
    def rate(self) -> FloatArray:
        """Transfer rates r_b in Mbit/s, shape (n_servers,)."""
        low, high = self.rate_mbit_s
        return np.random.default_rng([self.server_seed, 1]).integers(low, high + 1, self.n_servers).astype(np.float64)

    @cached_property
    def published_tasks(self) -> tuple[FloatArray, FloatArray]:
        """Work in Gcycles and result size in Mbit of task numbers 0..N-1, for the variant ``published``."""
        u = np.random.default_rng([self.server_seed, 2]).random(self.n_tasks)
        image_steps = 1 + np.floor(u * (self.max_image_steps - 1))
        return image_steps * between(u, DENSITY_GCYCLES), between(u, RESULT_MBIT)

    @property
    def mean_tasks(self) -> float:
        """Mean number of tasks of one server in one slot, E[K]."""
        return (1 + self.n_tasks) / 2

    @cached_property
    def work_by_number(self) -> FloatArray:
        """Mean work of a task by its number, Gcycles, shape (n_tasks,)."""
        if self.variant == "published":
            return self.published_tasks[0]
        return np.full(self.n_tasks, self.max_image_steps / 2 * sum(DENSITY_GCYCLES) / 2)

    @property
    def mean_work(self) -> float:
        """Mean work of a task, Gcycles; low numbers count more, because they occur more often."""
        return float(np.average(self.work_by_number, weights=self.n_tasks - np.arange(self.n_tasks)))

    @property
    def max_work(self) -> float:
        """Largest possible work of one task, Gcycles."""
        return (self.max_image_steps - 1) * DENSITY_GCYCLES[1]

    @property
    def load(self) -> float:
        """Ratio of offered work to capacity."""
        return self.n_servers * self.mean_tasks * self.mean_work / (float(self.capacity.sum()) * SLOT_S)

    def draw(self, n_episodes: int, rng: np.random.Generator) -> Arrivals:
        """Draw the tasks of ``n_episodes`` episodes, with one slot more than is scheduled.

        The last slot is never scheduled; the final next observation shows its first task.
        """
        counts = rng.integers(1, self.n_tasks + 1, (n_episodes, self.n_slots + 1, self.n_servers))
        totals = counts.sum(axis=(1, 2))
        width = int(totals.max())
        place = np.arange(width)
        ends = np.cumsum(counts.reshape(n_episodes, -1), axis=1)
        cell = np.stack([np.searchsorted(row, place, side="right") for row in ends])
        cell = np.minimum(cell, ends.shape[1] - 1)
        first = np.take_along_axis(np.concatenate([np.zeros((n_episodes, 1), int), ends], axis=1), cell, axis=1)
        number = np.minimum(place - first, self.n_tasks - 1)
        shape = (n_episodes, width)
        if self.variant == "published":
            work, result = (table[number] for table in self.published_tasks)
        else:
            image_steps = rng.integers(1, self.max_image_steps, shape)
            work = image_steps * rng.uniform(*DENSITY_GCYCLES, shape)
            result = rng.uniform(*RESULT_MBIT, shape)
        offsets = np.concatenate([np.zeros((n_episodes, 1), int), counts.sum(axis=2).cumsum(axis=1)], axis=1)
        return Arrivals(
            scenario=self,
            slot=cell // self.n_servers,
            station=cell % self.n_servers,
            number=number,
            data_mbit=rng.uniform(*DATA_MBIT, shape),
            work=work,
            result_mbit=result,
            offsets=offsets,
        )


@dataclass(frozen=True, kw_only=True)
class SlotTasks:
    """The tasks of one slot of E episodes, padded to the widest: arrays of shape (E, M) in handling order."""

    index: IntArray
    is_task: BoolArray
    station: IntArray
    number: IntArray
    data_mbit: FloatArray
    work: FloatArray
    result_mbit: FloatArray


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The tasks of E episodes: arrays of shape (E, P) in handling order, padded at the end.

    Attributes:
        scenario: what they were drawn from.
        slot: arrival slot. station: the server where it arrived. number: n, counted within slot and station.
        data_mbit: d. work: w in Gcycles. result_mbit: size of the result.
        offsets: first task of every slot, shape (E, n_slots + 2); the last slot is not scheduled.
    """

    scenario: OffloadingScenario
    slot: IntArray
    station: IntArray
    number: IntArray
    data_mbit: FloatArray
    work: FloatArray
    result_mbit: FloatArray
    offsets: IntArray

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return len(self.offsets)

    @property
    def n_scheduled(self) -> IntArray:
        """Number of tasks to place in every episode, shape (E,)."""
        return self.offsets[:, self.scenario.n_slots]

    @property
    def is_scheduled(self) -> BoolArray:
        """Which of the (E, P) entries are tasks to place."""
        return np.arange(self.work.shape[1]) < self.n_scheduled[:, None]

    def joined(self, others: Sequence[Arrivals]) -> Arrivals:
        """Return the episodes of these arrivals and of others of the same scenario in one."""
        parts = [arrivals.padded() for arrivals in (self, *others)]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in self._names()}
        return Arrivals(scenario=self.scenario, **arrays)

    def padded(self) -> Arrivals:
        """Return a copy wide enough for any episode of the scenario."""
        scenario = self.scenario
        width = scenario.n_servers * scenario.n_tasks * (scenario.n_slots + 1)
        arrays = {name: getattr(self, name) for name in self._names()}
        padded = {name: np.pad(a, ((0, 0), (0, width - a.shape[1]))) for name, a in arrays.items() if name != "offsets"}
        return Arrivals(scenario=scenario, offsets=self.offsets.copy(), **padded)

    def overwrite(self, e: int, other: Arrivals) -> None:
        """Overwrite episode ``e`` with the single episode of ``other``; these arrivals must be ``padded``."""
        for name in self._names():
            values = getattr(other, name)[0]
            getattr(self, name)[e, : len(values)] = values

    def _names(self) -> list[str]:
        return [field.name for field in fields(self) if field.name != "scenario"]

    def slots(self) -> Iterator[SlotTasks]:
        """Yield the scheduled slots one after another."""
        for t in range(self.scenario.n_slots):
            start, end = self.offsets[:, t], self.offsets[:, t + 1]
            index = start[:, None] + np.arange(int((end - start).max()))
            is_task = index < end[:, None]
            index = np.minimum(index, self.work.shape[1] - 1)

            def pick(values: NDArray[Any], index: IntArray = index) -> NDArray[Any]:
                return np.take_along_axis(values, index, axis=1)

            yield SlotTasks(
                index=index,
                is_task=is_task,
                station=pick(self.station),
                number=pick(self.number),
                data_mbit=pick(self.data_mbit),
                work=np.where(is_task, pick(self.work), 0.0),
                result_mbit=pick(self.result_mbit),
            )


def between(u: FloatArray, bounds: tuple[float, float]) -> FloatArray:
    """Return u in [0, 1) mapped linearly to ``bounds``."""
    return bounds[0] + (bounds[1] - bounds[0]) * u
