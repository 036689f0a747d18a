"""Rules that keep tasks waiting at the planner until a server has room, and the bound no rule can pass.

A task here may be overtaken while it waits; once on a server it stays there.
"""

from __future__ import annotations

import numpy as np

from rl_agent.edge_offloading.scenario import SLOT_S, Arrivals, BoolArray, FloatArray


def ordered_pull(arrivals: Arrivals, *, ageing_gcycles_per_s: float) -> FloatArray:
    """A shared pool ordered by work + ageing * arrival; a server that falls idle takes the first.

    Args:
        arrivals: the tasks.
        ageing_gcycles_per_s: c; 0 is shortest first.

    Returns:
        Service delays in seconds, waiting included, shape (E, P).
    """
    scenario = arrivals.scenario
    capacity = scenario.capacity
    n_episodes = arrivals.n_episodes
    rows = np.arange(n_episodes)
    backlog = np.zeros((n_episodes, scenario.n_servers))
    delays = np.full(arrivals.work.shape, np.nan)
    scheduled = arrivals.is_scheduled
    key = np.where(scheduled, arrivals.work + ageing_gcycles_per_s * arrivals.slot * SLOT_S, np.inf)
    # All tasks of an episode by key; a slot walks over those that have arrived and still wait.
    order = np.argsort(key, axis=1, kind="stable")
    arrival = np.where(scheduled, arrivals.slot, np.iinfo(np.int64).max)
    waits = scheduled.copy()
    t = 0
    while waits.any():
        for task, active in _candidates(waits & (arrival <= t), order):
            work = arrivals.work[rows, task]
            free = backlog / capacity < SLOT_S
            active = active & free.any(axis=1)
            if not active.any():
                break
            elsewhere = arrivals.station[rows, task, None] != np.arange(scenario.n_servers)
            mbit = arrivals.result_mbit[rows, task, None] + elsewhere * arrivals.data_mbit[rows, task, None]
            service = (backlog + work[:, None]) / capacity + mbit / scenario.rate
            chosen = np.where(free, backlog / capacity, np.inf).argmin(axis=1)
            delay = t * SLOT_S - arrivals.slot[rows, task] * SLOT_S + service[rows, chosen]
            delays[rows[active], task[active]] = delay[active]
            waits[rows[active], task[active]] = False
            backlog[rows[active], chosen[active]] += work[active]
        backlog = np.maximum(backlog - capacity * SLOT_S, 0.0)
        t += 1
    return delays


def _candidates(waits: BoolArray, order: np.ndarray) -> zip[tuple[np.ndarray, BoolArray]]:
    """Return, rank by rank, the next waiting task of every episode and whether it has one."""
    waiting_in_order = np.take_along_axis(waits, order, axis=1)
    n_waiting = waiting_in_order.sum(axis=1)
    rank = np.argsort(~waiting_in_order, axis=1, kind="stable")[:, : int(n_waiting.max(initial=0))]
    tasks = np.take_along_axis(order, rank, axis=1)
    active = np.arange(tasks.shape[1]) < n_waiting[:, None]
    return zip(tasks.T, active.T, strict=True)


def pooled_srpt(arrivals: Arrivals) -> FloatArray:
    """A lower bound on the mean delay of any rule: one server of all capacities together, least remaining work first.

    Any rule's completions can be reproduced by a preemptive server that is as fast as all servers together, and for
    that server shortest remaining first has the least mean. The result transfer at the best rate is added.

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
