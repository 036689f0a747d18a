"""Rules without learning, in the paper's order: tasks are placed in their slot, servers are first come, first served.

A rule plays all tasks of a slot, or one task of all episodes, at once. Rules that reorder tasks or place them late are
in ``pulls``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_agent.edge_offloading.scenario import SLOT_S, Arrivals, FloatArray, IntArray, OffloadingScenario, SlotTasks

SlotRule = Callable[[Arrivals, FloatArray, SlotTasks], IntArray]
"""Places all tasks of a slot by the backlog at slot start: (arrivals, q (E, B), slot) -> servers (E, M)."""


def play_slot_rule(arrivals: Arrivals, rule: SlotRule) -> FloatArray:
    """Play a rule that ignores what was placed earlier in the slot.

    Returns:
        Service delays in seconds, shape (E, P); NaN where there is no scheduled task.
    """
    scenario = arrivals.scenario
    backlog = np.zeros((arrivals.n_episodes, scenario.n_servers))
    delays = np.full(arrivals.work.shape, np.nan)
    for slot in arrivals.slots():
        server = rule(arrivals, backlog, slot)
        placed = (server[..., None] == np.arange(scenario.n_servers)) * slot.work[..., None]
        behind = np.take_along_axis(placed.cumsum(axis=1), server[..., None], axis=2)[..., 0]
        ahead = np.take_along_axis(backlog, server, axis=1) + behind - slot.work
        record(delays, slot, delay_of(scenario, slot, ahead, server))
        backlog = np.maximum(backlog + placed.sum(axis=1) - scenario.capacity * SLOT_S, 0.0)
    return delays


def greedy(arrivals: Arrivals, *, shortest_first: bool = False, computing_weight: float = 1.0) -> FloatArray:
    """Earliest completion, knowing what was placed earlier in the slot: the paper's "Opt-TS".

    Args:
        arrivals: the tasks.
        shortest_first: handle the tasks of a slot by work instead of by station and number.
        computing_weight: weight of a task's own computing time beside its waiting and transfer. Above 1, long tasks
            wait for fast servers and leave the short queues of slow servers to short tasks, as in size interval task
            assignment (Harchol-Balter, Crovella and Murta 1999).

    Returns:
        Service delays in seconds, shape (E, P).
    """
    scenario = arrivals.scenario
    backlog = np.zeros((arrivals.n_episodes, scenario.n_servers))
    rows = np.arange(arrivals.n_episodes)
    delays = np.full(arrivals.work.shape, np.nan)
    for slot in arrivals.slots():
        key = np.where(slot.is_task, slot.work, np.inf) if shortest_first else np.zeros(slot.work.shape)
        ahead, server = np.zeros(slot.work.shape), np.zeros(slot.index.shape, dtype=np.int64)
        for m in np.argsort(key, axis=1, kind="stable").T:
            work = computing_weight * slot.work[rows, m, None]
            chosen = ((backlog + work) / scenario.capacity + transfer_s(scenario, slot, rows, m)).argmin(axis=1)
            ahead[rows, m], server[rows, m] = backlog[rows, chosen], chosen
            backlog[rows, chosen] += slot.work[rows, m]
        record(delays, slot, delay_of(scenario, slot, ahead, server))
        backlog = np.maximum(backlog - scenario.capacity * SLOT_S, 0.0)
    return delays


def shared_queue(arrivals: Arrivals, *, reserved: int = 0) -> FloatArray:
    """One first-come-first-served queue that servers pull from: plain Celery with late acknowledgement.

    Args:
        arrivals: the tasks.
        reserved: messages that a server takes besides the one it works on (Celery's prefetch beyond 1).

    Returns:
        Service delays in seconds, shape (E, P).
    """
    scenario = arrivals.scenario
    n_servers = scenario.n_servers
    rows = np.arange(arrivals.n_episodes)
    # free[e, b]: when server b of episode e finishes its last reserved + 1 tasks, oldest first.
    free = np.zeros((arrivals.n_episodes, n_servers, reserved + 1))
    turn = np.zeros(arrivals.n_episodes, dtype=np.int64)
    delays = np.full(arrivals.work.shape, np.nan)
    for t, slot in enumerate(arrivals.slots()):
        now = t * SLOT_S
        backlog = np.maximum(free[:, :, -1] - now, 0.0) * scenario.capacity
        ahead, server = np.zeros(slot.work.shape), np.zeros(slot.index.shape, dtype=np.int64)
        for m in range(slot.work.shape[1]):
            # A server with room asks at once; among those that ask together the broker serves in turn.
            asks = np.maximum(free[:, :, 0], now)
            first = asks <= asks.min(axis=1, keepdims=True)
            chosen = np.where(first, (np.arange(n_servers) - turn[:, None]) % n_servers, n_servers).argmin(axis=1)
            is_task = slot.is_task[:, m]
            ahead[:, m], server[:, m] = backlog[rows, chosen], chosen
            backlog[rows, chosen] += slot.work[:, m]
            end = now + backlog[rows, chosen] / scenario.capacity[chosen]
            moved = np.concatenate([free[rows, chosen, 1:], end[:, None]], axis=1)
            free[rows, chosen] = np.where(is_task[:, None], moved, free[rows, chosen])
            turn = np.where(is_task, chosen + 1, turn)
        record(delays, slot, delay_of(scenario, slot, ahead, server))
    return delays


def least_backlog(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """Place every task on the server whose backlog in seconds was smallest at slot start."""
    server = (backlog / arrivals.scenario.capacity).argmin(axis=1)
    return np.broadcast_to(server[:, None], slot.index.shape).copy()


def local_only(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """Place every task where it arrived."""
    return slot.station


def round_robin(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """Place the tasks on the servers in turn, regardless of capacity."""
    return slot.index % arrivals.scenario.n_servers


def weighted_round_robin(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """Place the tasks on the servers in turn, each in proportion to its capacity and evenly spread, by one counter."""
    turns = smooth_turns(arrivals.scenario.capacity)
    return turns[slot.index % len(turns)]


def random_server(rng: np.random.Generator, *, by_capacity: bool = False) -> SlotRule:
    """Return the rule that draws a server, uniformly or in proportion to capacity."""

    def rule(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
        capacity = arrivals.scenario.capacity
        weights = capacity / capacity.sum() if by_capacity else None
        return rng.choice(len(capacity), size=slot.index.shape, p=weights)

    return rule


def water_filling(rng: np.random.Generator) -> SlotRule:
    """Return the rule that draws servers by the share that each needs to level the expected backlogs.

    It sees slot-start backlogs only, and every agent draws independently.
    """

    def rule(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
        scenario = arrivals.scenario
        expected = scenario.n_servers * scenario.mean_tasks * scenario.mean_work
        share = levelling_shares(backlog, scenario.capacity, expected)
        draws = rng.random(slot.index.shape)
        server: IntArray = (draws[..., None] > share.cumsum(axis=1)[:, None, :]).sum(axis=2)
        return np.minimum(server, scenario.n_servers - 1)

    return rule


def common_plan(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """All agents follow one plan made of slot-start backlogs, station, task number and E[K] alone.

    The plan takes every task number of every station in order and places it greedily. It counts the task's mean work
    times the probability that there is such a task. (A plan of E[K] tasks of mean work per station scores 1.23 instead
    of 1.14 times greedy at load 0.97.)
    """
    rows = np.arange(arrivals.n_episodes)[:, None]
    server, _ = plan_slot(arrivals.scenario, backlog)
    return server[rows, slot.station, slot.number]


def selfish_plan(arrivals: Arrivals, backlog: FloatArray, slot: SlotTasks) -> IntArray:
    """Place every task where it would complete first if all others followed the common plan.

    It sees slot-start backlogs, as ``common_plan``, and the task itself.
    """
    scenario = arrivals.scenario
    rows, m = np.arange(arrivals.n_episodes)[:, None], np.arange(slot.work.shape[1])
    _, waiting_s = plan_slot(scenario, backlog)
    completion = waiting_s[rows, slot.station, slot.number] + slot.work[..., None] / scenario.capacity
    server: IntArray = (completion + transfer_s(scenario, slot, rows, m)).argmin(axis=2)
    return server


def plan_slot(scenario: OffloadingScenario, backlog: FloatArray) -> tuple[IntArray, FloatArray]:
    """Make the common plan of a slot.

    Args:
        scenario: parameters.
        backlog: at slot start, Gcycles, shape (E, B).

    Returns:
        The server of every station and task number, shape (E, n_servers, n_tasks), and the seconds that the task is
        expected to wait on each server, shape (E, n_servers, n_tasks, B).
    """
    n_episodes, rows = len(backlog), np.arange(len(backlog))
    work = scenario.work_by_number
    expected = work * (1 - np.arange(scenario.n_tasks) / scenario.n_tasks)
    service = work[:, None] / scenario.capacity
    seconds = backlog / scenario.capacity
    more = expected[:, None] / scenario.capacity
    server = np.zeros((n_episodes, scenario.n_servers, scenario.n_tasks), dtype=np.int64)
    waiting_s = np.zeros((*server.shape, scenario.n_servers))
    for b in range(scenario.n_servers):
        for n in range(scenario.n_tasks):
            waiting_s[:, b, n] = seconds
            chosen = server[:, b, n] = (seconds + service[n]).argmin(axis=1)
            seconds[rows, chosen] += more[n, chosen]
    return server, waiting_s


def levelling_shares(backlog: FloatArray, capacity: FloatArray, work: float) -> FloatArray:
    """Return the share of ``work`` for each server that levels all backlogs, except those above the level already.

    Args:
        backlog: Gcycles, shape (E, B).
        capacity: Gcycles/s, shape (B,).
        work: Gcycles to add.

    Returns:
        Shares, shape (E, B), summing to one.
    """
    seconds = backlog / capacity
    order = seconds.argsort(axis=1)
    speed = capacity[order].cumsum(axis=1)
    height = np.take_along_axis(seconds, order, axis=1)
    # The level if the k lowest servers share the work; the right k is the last whose own height is below its level.
    level = (work + (height * capacity[order]).cumsum(axis=1)) / speed
    k = (height <= level).sum(axis=1) - 1
    filled = np.maximum(level[np.arange(len(k)), k][:, None] - seconds, 0.0) * capacity
    share: FloatArray = filled / filled.sum(axis=1, keepdims=True)
    return share


def smooth_turns(capacity: FloatArray) -> IntArray:
    """Return one round of a smooth weighted round robin; integer weights are the capacities in Gcycles/s.

    Source: the algorithm of nginx's upstream module. In each turn every server gains its weight; the one with the most
    credit is chosen and pays the sum of the weights.
    """
    weight = np.round(capacity).astype(np.int64)
    credit = np.zeros_like(weight)
    turns = []
    for _ in range(int(weight.sum())):
        credit += weight
        chosen = int(credit.argmax())
        credit[chosen] -= weight.sum()
        turns.append(chosen)
    return np.array(turns)


def transfer_s(scenario: OffloadingScenario, slot: SlotTasks, rows: IntArray, m: IntArray) -> FloatArray:
    """Return the seconds that tasks ``m`` of episodes ``rows`` need to transfer input and result, for every server.

    Args:
        scenario: parameters.
        slot: the tasks.
        rows: episodes.
        m: tasks; together with ``rows`` of any common shape (...).

    Returns:
        Seconds, shape (..., B).
    """
    elsewhere = slot.station[rows, m, None] != np.arange(scenario.n_servers)
    mbit = slot.result_mbit[rows, m, None] + elsewhere * slot.data_mbit[rows, m, None]
    seconds: FloatArray = mbit / scenario.rate
    return seconds


def delay_of(scenario: OffloadingScenario, slot: SlotTasks, ahead: FloatArray, server: IntArray) -> FloatArray:
    """Return the seconds of service delay of a slot's tasks behind ``ahead`` Gcycles on their servers, shape (E, M)."""
    mbit = slot.result_mbit + (server != slot.station) * slot.data_mbit
    delay: FloatArray = (ahead + slot.work) / scenario.capacity[server] + mbit / scenario.rate[server]
    return delay


def record(delays: FloatArray, slot: SlotTasks, delay: FloatArray) -> None:
    """Write the delays of a slot's tasks to their places in ``delays``, shape (E, P)."""
    episode, m = np.nonzero(slot.is_task)
    delays[episode, slot.index[episode, m]] = delay[episode, m]
