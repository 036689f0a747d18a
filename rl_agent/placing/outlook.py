"""What the nodes will look like once the jobs placed so far in a batch are done.

A placer answers for a whole batch of WAITING jobs, one after another; each must see what those before it took. An
outlook lives as long as one batch; the planner's own record of backlogs is `backlog`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.observation import Observation, held
from rl_agent.placing.residency import resident_after

Rows = int | slice
Columns = int | slice
EVERY = slice(None)


class Outlook:
    """Backlog, room and resident models of N nodes, kept up to date while a batch is placed.

    What it tells of a job over all nodes, (N,), it also tells of every job, (J, N) or at one node (J,): the arguments
    `job` and `node` are an index or `EVERY`.

    Attributes:
        observation: what the batch started from.
        backlog_s: (N,) predicted seconds of work, including the jobs that wait for a busy node.
        room: (N,) free places left.
        held: (M, N) whether a model will be in memory.
        pressure: WAITING jobs for each node that may be chosen, at the start of the batch.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.backlog_s = observation.backlog_s.copy()
        self.room = observation.room.copy()
        self.held = held(observation.resident, len(observation.models))
        nodes = max(int(observation.eligible.any(axis=0).sum()), 1)
        self.pressure = observation.waiting / nodes
        self._resident = list(observation.resident)
        self._next_out = np.array(
            [
                models[0] if models and len(models) >= limit else -1
                for models, limit in zip(observation.resident, observation.resident_limit, strict=True)
            ],
            dtype=np.int64,
        )

    def load_s(self, job: Rows, node: Columns = EVERY) -> FloatArray:
        """(N,) seconds each node needs to load the job's model and adapters."""
        model = self.observation.model[job]
        load_s: FloatArray = np.where(self.held[model, node], 0.0, self.observation.cold_load_s[model, node])
        return load_s + self.observation.adapters_load_s[job, node]

    def service_s(self, job: Rows, node: Columns = EVERY) -> FloatArray:
        """(N,) seconds for which the job keeps each node busy: load and generation."""
        service_s: FloatArray = self.load_s(job, node) + self.observation.generation_s[job, node]
        return service_s

    def arrival_s(self, job: Rows, node: Columns = EVERY) -> FloatArray:
        """(N,) predicted seconds until each node could begin the job: its input is there, the backlog is done."""
        arrival_s: FloatArray = np.maximum(self.observation.transfer_in_s[job, node], self.backlog_s[node])
        return arrival_s

    def delay_s(self, job: Rows, node: Columns = EVERY) -> FloatArray:
        """(N,) predicted seconds from now to the job's result on each node."""
        transfer_out_s = self.observation.transfer_out_s[job, node]
        delay_s: FloatArray = self.arrival_s(job, node) + self.service_s(job, node) + transfer_out_s
        return delay_s

    def eviction(self, job: Rows, node: Columns = EVERY) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return what loading the job's model would evict from each node's memory.

        Returns:
            (N,) seconds to load the evicted model again, 0 where none is evicted; (N,) which model it is.
        """
        evicts = ~self.held[self.observation.model[job], node] & (self._next_out[node] >= 0)
        out = np.maximum(self._next_out[node], 0)
        columns = np.arange(len(self._next_out))[node]
        return np.where(evicts, self.observation.cold_load_s[out, columns], 0.0), out

    def take(self, job: int, node: int) -> bool:
        """Give the job to the node, or let it wait for the node if that has no room.

        Returns:
            Whether there was room, so that the job is placed now.
        """
        self.wait_for(job, node)
        if self.room[node] <= 0:
            return False
        self.room[node] -= 1
        return True

    def wait_for(self, job: int, node: int) -> None:
        """Let the job wait for the node: it takes its turn there, but none of its places."""
        observation = self.observation
        model = int(observation.model[job])
        arrival_s = max(float(observation.transfer_in_s[job, node]), float(self.backlog_s[node]))
        load_s = 0.0 if self.held[model, node] else float(observation.cold_load_s[model, node])
        load_s += float(observation.adapters_load_s[job, node])
        self.backlog_s[node] = arrival_s + load_s + observation.generation_s[job, node]
        self._keep(model, node)

    def _keep(self, model: int, node: int) -> None:
        limit = int(self.observation.resident_limit[node])
        kept = resident_after(self._resident[node], [model], limit)
        self._resident[node] = kept
        self._next_out[node] = kept[0] if len(kept) >= limit else -1
        self.held[:, node] = False
        self.held[list(kept), node] = True
