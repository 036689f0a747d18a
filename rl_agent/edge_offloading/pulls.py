"""Rules that keep tasks waiting at the planner until a server has room, and a lower bound for all rules.

A task may be overtaken while it waits; once placed on a server it stays there.
"""

from __future__ import annotations

import numpy as np

from rl_agent.edge_offloading.scenario import SLOT_S, Arrivals, BoolArray, FloatArray, IntArray


def ordered_pull(arrivals: Arrivals, *, ageing_gcycles_per_s: float) -> FloatArray:
    """A shared pool ordered by work + ageing * arrival time; a server that becomes idle takes the first task.

    Args:
        arrivals: the tasks.
        ageing_gcycles_per_s: c; 0 is shortest first.

    Returns:
        Service delays in seconds, waiting included, shape (E, P).
    """
    capacity = arrivals.scenario.capacity
    rows = np.arange(arrivals.n_episodes)
    backlog = np.zeros((arrivals.n_episodes, arrivals.scenario.n_servers))
    delays = np.full(arrivals.work.shape, np.nan)
    waits = arrivals.is_scheduled.copy()
    key = np.where(waits, arrivals.work + ageing_gcycles_per_s * arrivals.slot * SLOT_S, np.inf)
    # All tasks of an episode by key; a slot walks over those that have arrived and still wait.
    order = np.argsort(key, axis=1, kind="stable")
    t = 0
    while waits.any():
        for task, is_task in _candidates(waits & (arrivals.slot <= t), order):
            placed, delay_s = _pull(arrivals, t, task, is_task, backlog)
            if not placed.any():
                break
            delays[rows[placed], task[placed]] = delay_s[placed]
            waits[rows[placed], task[placed]] = False
        backlog = np.maximum(backlog - capacity * SLOT_S, 0.0)
        t += 1
    return delays


def _pull(
    arrivals: Arrivals, t: int, task: IntArray, is_task: BoolArray, backlog: FloatArray
) -> tuple[BoolArray, FloatArray]:
    """Place one task of every episode on the server that can start it first, and add its work to ``backlog``.

    Args:
        arrivals: the tasks.
        t: the slot.
        task: one task of every episode, shape (E,).
        is_task: whether the episode has one, shape (E,).
        backlog: Gcycles, shape (E, B); changed in place.

    Returns:
        Which tasks found a server that is free within the slot, and all service delays in seconds, both (E,).
    """
    scenario = arrivals.scenario
    rows, work = np.arange(len(task)), arrivals.work[np.arange(len(task)), task]
    waiting_s = backlog / scenario.capacity
    free = waiting_s < SLOT_S
    chosen = np.where(free, waiting_s, np.inf).argmin(axis=1)
    elsewhere = arrivals.station[rows, task] != chosen
    mbit = arrivals.result_mbit[rows, task] + elsewhere * arrivals.data_mbit[rows, task]
    service_s = (backlog[rows, chosen] + work) / scenario.capacity[chosen] + mbit / scenario.rate[chosen]
    placed: BoolArray = is_task & free.any(axis=1)
    backlog[rows[placed], chosen[placed]] += work[placed]
    return placed, t * SLOT_S - arrivals.slot[rows, task] * SLOT_S + service_s


def _candidates(waits: BoolArray, order: IntArray) -> zip[tuple[IntArray, BoolArray]]:
    """Return, rank by rank, the next waiting task of every episode and whether it has one."""
    waiting_in_order = np.take_along_axis(waits, order, axis=1)
    n_waiting = waiting_in_order.sum(axis=1)
    rank = np.argsort(~waiting_in_order, axis=1, kind="stable")[:, : int(n_waiting.max(initial=0))]
    tasks = np.take_along_axis(order, rank, axis=1)
    active = np.arange(tasks.shape[1]) < n_waiting[:, None]
    return zip(tasks.T, active.T, strict=True)


def pooled_srpt(arrivals: Arrivals) -> FloatArray:
    """A lower bound on the mean delay of any rule: one server with the total capacity, shortest remaining work first.

    A preemptive server that is as fast as all servers together can reproduce the completions of any rule, and for such
    a server shortest remaining first has the smallest mean. The result transfer at the best rate is added.

    Returns:
        Service delays in seconds, shape (E, P).

    Source: Schrage 1968, optimality of the shortest remaining processing time discipline.
    """
    scenario = arrivals.scenario
    speed = float(scenario.capacity.sum())
    delays = np.full(arrivals.work.shape, np.nan)
    for e in range(arrivals.n_episodes):
        remaining, task = np.zeros(0), np.zeros(0, dtype=np.int64)
        t = 0
        while t < scenario.n_slots or len(task):
            if t < scenario.n_slots:
                new = np.arange(arrivals.offsets[e, t], arrivals.offsets[e, t + 1])
                task, remaining = np.concatenate([task, new]), np.concatenate([remaining, arrivals.work[e, new]])
            order = np.argsort(remaining, kind="stable")
            task, remaining = task[order], remaining[order]
            end = remaining.cumsum() / speed
            done = int((end <= SLOT_S).sum())
            delays[e, task[:done]] = t * SLOT_S + end[:done] - arrivals.slot[e, task[:done]] * SLOT_S
            if done < len(task):
                spent = SLOT_S * speed - (end[done - 1] * speed if done else 0.0)
                remaining[done] -= spent
            task, remaining = task[done:], remaining[done:]
            t += 1
    bound: FloatArray = delays + arrivals.result_mbit / scenario.rate.max()
    return bound
