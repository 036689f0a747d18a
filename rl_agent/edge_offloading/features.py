"""The observation of the paper mode: one row per server, with columns in seconds instead of cycles."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rl_agent.edge_offloading.core import OffloadingDecision
from rl_agent.edge_offloading.rules import plan_slot
from rl_agent.edge_offloading.scenario import DATA_MBIT, RESULT_MBIT, FloatArray, OffloadingScenario
from rl_agent.ladts.layout import ObservationLayout

ObservationKind = Literal["slot_start", "in_slot"]

SCORE_S = 0.1
"""A score falls by one for so much later completion: of two servers 0.1 s apart the better one gets 73 %."""
MIN_SCORE = -10.0
"""Scores end here, at a probability of 5e-5 beside the best server: a network must be able to outweigh a score."""
BACKLOG_UNIT_S = 10.0
"""The unit of a backlog column: at load 1.2 the 95th percentile of the delay is 14 s, and inputs should be about 1."""


class Column(IntEnum):
    """Columns of the observation, see ``EdgeOffloadingEnv``; those of the task are equal in every row."""

    ELIGIBLE = 0  # 1 or 0
    SCORE = 1  # logit
    KEY = 2  # of the latent action
    WORK_GCYCLES = 3
    DATA_MBIT = 4
    WAITED_S = 5
    BACKLOG_10S = 6  # in ten seconds
    BACKLOG_GCYCLES = 7
    EXCESS_S = 8
    SERVICE_S = 9
    TRANSFER_S = 10
    RELATIVE_CAPACITY = 11  # over the mean


def layout(scenario: OffloadingScenario, kind: ObservationKind) -> ObservationLayout:
    """Return the columns that our policies read: seconds and relative capacity, and the score if it is a plan's."""
    node = (Column.BACKLOG_10S, Column.EXCESS_S, Column.SERVICE_S, Column.TRANSFER_S, Column.RELATIVE_CAPACITY)
    return ObservationLayout(
        job=(Column.WORK_GCYCLES,),
        node=node if kind == "in_slot" else (*node, Column.SCORE),
        eligible=Column.ELIGIBLE,
        score=Column.SCORE,
        key=Column.KEY,
        n_keys=n_latent_keys(scenario),
    )


def published_layout(scenario: OffloadingScenario) -> ObservationLayout:
    """Return the columns that the published code reads: input size, work and raw backlogs."""
    return ObservationLayout(
        job=(Column.DATA_MBIT, Column.WORK_GCYCLES),
        node=(Column.BACKLOG_GCYCLES,),
        key=Column.KEY,
        n_keys=n_latent_keys(scenario),
    )


class Features:
    """Builds observations, shape (E, B, len(Column)), from decisions.

    Args:
        scenario: parameters.
        kind: ``slot_start`` shows the backlogs at slot start, as in the paper, and the scores of the common plan.
            ``in_slot`` includes the tasks placed earlier in the slot, and shows the scores of earliest completion.
        n_episodes: E.

    Raises:
        ValueError: ``kind`` is unknown.
    """

    def __init__(self, scenario: OffloadingScenario, kind: ObservationKind, n_episodes: int) -> None:
        if kind not in get_args(ObservationKind):
            raise ValueError(f"observation {kind!r} is unknown: use one of {get_args(ObservationKind)}")
        self.scenario = scenario
        self.kind = kind
        self.capacity, self.rate = scenario.capacity, scenario.rate
        self._rows = np.arange(n_episodes)
        self._servers = np.arange(scenario.n_servers)
        self._relative_capacity = self.capacity / self.capacity.mean()
        self._planned_slot = np.full(n_episodes, -1)
        self._planned_backlog = np.full((n_episodes, scenario.n_servers), -1.0)
        self._plan = np.zeros((n_episodes, scenario.n_servers, scenario.n_tasks), dtype=np.int64)

    def __call__(self, now: OffloadingDecision) -> NDArray[np.float32]:
        """Return the observation of every episode's decision."""
        scenario = self.scenario
        backlog = now.backlog if self.kind == "in_slot" else now.backlog_slot_start
        backlog_s = backlog / self.capacity
        service_s = now.work[:, None] / self.capacity
        mbit = now.result_mbit[:, None] + (now.station[:, None] != self._servers) * now.data_mbit[:, None]
        transfer_s = mbit / self.rate
        completion = np.where(now.has_room, backlog_s + service_s + transfer_s, np.inf)
        excess_s = np.minimum(completion - completion.min(axis=1, keepdims=True), BACKLOG_UNIT_S)
        observation = np.empty((*backlog.shape, len(Column)), dtype=np.float32)
        observation[..., Column.ELIGIBLE] = now.has_room
        observation[..., Column.SCORE] = self._score(now, excess_s)
        observation[..., Column.KEY] = latent_key(scenario, now)[:, None]
        observation[..., Column.WORK_GCYCLES] = now.work[:, None]
        observation[..., Column.DATA_MBIT] = now.data_mbit[:, None]
        observation[..., Column.WAITED_S] = now.waited_s[:, None]
        observation[..., Column.BACKLOG_10S] = backlog_s / BACKLOG_UNIT_S
        observation[..., Column.BACKLOG_GCYCLES] = backlog
        observation[..., Column.EXCESS_S] = excess_s
        observation[..., Column.SERVICE_S] = service_s
        observation[..., Column.TRANSFER_S] = transfer_s
        observation[..., Column.RELATIVE_CAPACITY] = self._relative_capacity
        return observation

    def _score(self, now: OffloadingDecision, excess_s: FloatArray) -> FloatArray:
        if self.kind == "in_slot":
            return np.maximum(excess_s / -SCORE_S, MIN_SCORE)
        stale = (now.slot != self._planned_slot) | (now.backlog_slot_start != self._planned_backlog).any(axis=1)
        if stale.any():
            self._plan[stale], _ = plan_slot(self.scenario, now.backlog_slot_start[stale])
            self._planned_slot[stale] = now.slot[stale]
            self._planned_backlog[stale] = now.backlog_slot_start[stale]
        planned = self._plan[self._rows, now.station, now.number]
        return np.where(planned[:, None] == self._servers, 0.0, MIN_SCORE)


def latent_key(scenario: OffloadingScenario, now: OffloadingDecision) -> NDArray[np.int64]:
    """Return the key of a task's latent action, made of its slot, station and task number, shape (E,)."""
    slot = np.minimum(now.slot, scenario.n_slots - 1)
    return (slot * scenario.n_servers + now.station) * scenario.n_tasks + now.number


def n_latent_keys(scenario: OffloadingScenario) -> int:
    """Return the number of keys."""
    return scenario.n_slots * scenario.n_servers * scenario.n_tasks


def bounds(scenario: OffloadingScenario) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and highest value of every entry, both of shape (B, len(Column)).

    A backlog reaches its bound if every task of an episode is as long as possible and goes to the slowest server.
    """
    slowest, lowest_rate = float(scenario.capacity.min()), float(scenario.rate.min())
    max_gcycles = scenario.n_servers * scenario.n_tasks * scenario.n_slots * scenario.max_work
    low, high = np.zeros(len(Column)), np.ones(len(Column))
    low[Column.SCORE], high[Column.SCORE] = MIN_SCORE, 0.0
    high[Column.KEY] = n_latent_keys(scenario)
    high[Column.WORK_GCYCLES] = scenario.max_work
    high[Column.DATA_MBIT] = DATA_MBIT[1]
    high[Column.WAITED_S] = scenario.n_slots + max_gcycles / slowest
    high[Column.BACKLOG_10S] = max_gcycles / slowest / BACKLOG_UNIT_S
    high[Column.BACKLOG_GCYCLES] = max_gcycles
    high[Column.EXCESS_S] = BACKLOG_UNIT_S
    high[Column.SERVICE_S] = scenario.max_work / slowest
    high[Column.TRANSFER_S] = (DATA_MBIT[1] + RESULT_MBIT[1]) / lowest_rate
    high[Column.RELATIVE_CAPACITY] = float(scenario.n_servers)
    shape = (scenario.n_servers, len(Column))
    return np.broadcast_to(low, shape).astype(np.float32), np.broadcast_to(high, shape).astype(np.float32)
