"""The dynamics of the model: many episodes in parallel, one decision in each per step.

Backlogs, delays and the order of decisions are here. Left out: observations for networks (``features``), Gymnasium
(``env``) and stable-baselines3 (``vec_env``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rl_agent.edge_offloading.scenario import SLOT_S, Arrivals, BoolArray, FloatArray, IntArray, OffloadingScenario


@dataclass(frozen=True, kw_only=True)
class OffloadingDecision:
    """The task to place next in each of E episodes, and the servers' state; arrays of shape (E,) or (E, B).

    Attributes:
        task: index into the episode's arrivals. slot: the slot of the decision. waited_s: time since it arrived.
        station: where it arrived. number: n, its number there. data_mbit, work, result_mbit: of the task.
        backlog_slot_start: q, backlog of every server at slot start in Gcycles, shape (E, B).
        backlog: q + s, backlog including the tasks placed earlier in this slot, shape (E, B).
        has_room: servers that may be chosen, shape (E, B).
    """

    task: IntArray
    slot: IntArray
    waited_s: FloatArray
    station: IntArray
    number: IntArray
    data_mbit: FloatArray
    work: FloatArray
    result_mbit: FloatArray
    backlog_slot_start: FloatArray
    backlog: FloatArray
    has_room: BoolArray


class OffloadingCore:
    """Plays E episodes of the paper's model in parallel.

    Without ageing (the paper), a task is placed in the slot of its arrival, on any server; tasks are ordered by station
    and number. With ageing (the planner's order), all waiting tasks of a slot are ordered by work + ageing * arrival
    time, and a task may be placed only on a server that could start it within the slot. If there is no such server, it
    keeps waiting and can still be placed anywhere. After the last slot the remaining tasks are placed in further slots
    without arrivals.

    Args:
        scenario: parameters.
        n_episodes: E.
        ageing_gcycles_per_s: c of the order; None is the paper's order, infinity is order of arrival with late
            placement, 0 is shortest first.

    Source: arXiv 2412.18212, eqs. 1-6: delay = (q_a + s_a)/f_a + w/f_a + result/r_a + [a != b] d/r_a;
    q_a(t+1) = max(q_a + s_a - f_a, 0).
    Differs: ``ageing_gcycles_per_s`` is ours; waiting before the placement is part of a task's delay.
    """

    def __init__(
        self, scenario: OffloadingScenario, n_episodes: int = 1, ageing_gcycles_per_s: float | None = None
    ) -> None:
        if ageing_gcycles_per_s is not None and not ageing_gcycles_per_s >= 0:
            raise ValueError(f"ageing_gcycles_per_s is {ageing_gcycles_per_s}: use None or a number >= 0")
        self.scenario = scenario
        self.n_episodes = n_episodes
        self.ageing_gcycles_per_s = ageing_gcycles_per_s
        self.capacity, self.rate = scenario.capacity, scenario.rate
        self._rows = np.arange(n_episodes)
        shape = (n_episodes, scenario.n_servers)
        self.backlog_slot_start = np.zeros(shape)
        self.backlog = np.zeros(shape)
        self.slot = np.zeros(n_episodes, dtype=np.int64)
        self._agenda = np.zeros((n_episodes, 0), dtype=np.int64)
        self._cursor = np.zeros(n_episodes, dtype=np.int64)
        self._length = np.zeros(n_episodes, dtype=np.int64)
        self._tasks: Arrivals | None = None

    @property
    def tasks(self) -> Arrivals:
        """The tasks of the current episodes; ``begin`` sets them."""
        if self._tasks is None:
            raise RuntimeError("no tasks to play: call begin(), or reset() of the environment, first")
        return self._tasks

    def begin(self, arrivals: Arrivals) -> None:
        """Start all E episodes on ``arrivals``."""
        if arrivals.n_episodes != self.n_episodes:
            raise ValueError(f"got tasks of {arrivals.n_episodes} episodes, this core plays {self.n_episodes}")
        self._tasks = arrivals.padded()
        self._agenda = np.zeros(self._tasks.work.shape, dtype=np.int64)
        for e in range(self.n_episodes):
            self._begin_episode(e)

    def replace(self, e: int, arrivals: Arrivals) -> None:
        """Restart episode ``e`` on the single episode of ``arrivals``; the others continue."""
        self.tasks.overwrite(e, arrivals)
        self._begin_episode(e)

    def decision(self) -> OffloadingDecision:
        """Return the task to place next in every episode, and the servers' state."""
        tasks, rows = self.tasks, self._rows
        task = self._agenda[rows, self._cursor]
        return OffloadingDecision(
            task=task,
            slot=self.slot,
            waited_s=np.asarray((self.slot - tasks.slot[rows, task]) * SLOT_S, dtype=np.float64),
            station=tasks.station[rows, task],
            number=tasks.number[rows, task],
            data_mbit=tasks.data_mbit[rows, task],
            work=tasks.work[rows, task],
            result_mbit=tasks.result_mbit[rows, task],
            backlog_slot_start=self.backlog_slot_start,
            backlog=self.backlog,
            has_room=self._has_room(),
        )

    def step(self, server: IntArray) -> tuple[FloatArray, BoolArray]:
        """Place the current task of every episode.

        Args:
            server: chosen servers, shape (E,).

        Returns:
            Service delays in seconds, and which episodes have ended, both of shape (E,). An ended episode shows the
            first task of the unscheduled slot, if it has one, until ``replace`` restarts it.

        Raises:
            ValueError: a server does not exist or has no room.
        """
        rows, now = self._rows, self.decision()
        if server.min() < 0 or server.max() >= self.scenario.n_servers:
            raise ValueError(f"servers {server} are out of range: there are {self.scenario.n_servers}")
        if not now.has_room[rows, server].all():
            raise ValueError(f"servers {server} include one without room")
        delay = now.waited_s + service_delay(self.scenario, now, now.backlog[rows, server], server)
        self.backlog[rows, server] += now.work
        self._cursor += 1
        finished = self._cursor >= self._length
        if self.ageing_gcycles_per_s is not None:
            finished |= ~self._has_room().any(axis=1)
        ended = np.zeros(self.n_episodes, dtype=np.bool_)
        for e in np.flatnonzero(finished):
            ended[e] = self._next_slot(int(e))
        return delay, ended

    def _has_room(self) -> BoolArray:
        if self.ageing_gcycles_per_s is None:
            return np.ones_like(self.backlog, dtype=np.bool_)
        # The task shown after the end of an episode may go to any server.
        has_room: BoolArray = (self.backlog < self.capacity * SLOT_S) | (self._length == 0)[:, None]
        return has_room

    def _begin_episode(self, e: int) -> None:
        self.backlog[e] = self.backlog_slot_start[e] = 0.0
        self.slot[e] = -1
        self._length[e] = self._cursor[e] = 0
        self._next_slot(e)

    def _next_slot(self, e: int) -> bool:
        """Move episode ``e`` to the next slot with a task to place; return whether there is none."""
        agenda = self._agenda[e, self._cursor[e] : self._length[e]].copy()
        while True:
            if self.slot[e] >= 0:
                self.backlog[e] = np.maximum(self.backlog[e] - self.capacity * SLOT_S, 0.0)
            self.slot[e] += 1
            agenda = np.concatenate([agenda, self._arriving(e)])
            if len(agenda) == 0 or self._has_room()[e].any():
                break
        self.backlog_slot_start[e] = self.backlog[e]
        self._cursor[e], self._length[e] = 0, len(agenda)
        self._agenda[e, : len(agenda)] = self._in_order(e, agenda)
        if len(agenda) == 0:
            self._agenda[e, 0] = self.tasks.offsets[e, self.scenario.n_slots]
        return len(agenda) == 0

    def _arriving(self, e: int) -> IntArray:
        if self.slot[e] >= self.scenario.n_slots:
            return np.zeros(0, dtype=np.int64)
        return np.arange(self.tasks.offsets[e, self.slot[e]], self.tasks.offsets[e, self.slot[e] + 1])

    def _in_order(self, e: int, task: IntArray) -> IntArray:
        c = self.ageing_gcycles_per_s
        if c is None or math.isinf(c):
            return np.sort(task)
        return task[np.argsort(self.tasks.work[e, task] + c * SLOT_S * self.tasks.slot[e, task], kind="stable")]


def service_delay(
    scenario: OffloadingScenario, now: OffloadingDecision, ahead: FloatArray, server: IntArray
) -> FloatArray:
    """Return the seconds that E tasks take behind ``ahead`` Gcycles on ``server``, without earlier waiting."""
    capacity, rate = scenario.capacity[server], scenario.rate[server]
    input_s = np.where(server != now.station, now.data_mbit / rate, 0.0)
    delay: FloatArray = (ahead + now.work) / capacity + now.result_mbit / rate + input_s
    return delay
