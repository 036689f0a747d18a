"""The open jobs in memory, and the WAITING ones in the planner's order."""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from broker_config.messages import ImageRequest, JobState, Priority, Submission
from rl_agent.estimates import work_units
from rl_agent.observation import JobView
from rl_agent.ordering import OrderKey

MBIT_PER_BASE64_CHARACTER = 6e-6
OUTPUT_MBIT_PER_MEGAPIXEL = 12.0
MOST_LISTENERS = 8  # images go to each of them


@dataclass(kw_only=True)
class LiveJob:
    """One job that has not ended.

    Attributes:
        attempts: how often it was placed.
        failures: how many of these count against `max_attempts`; a node that hands a job back does not.
        foretold_s: service delay predicted when it was accepted; None if no node was ready.
        latent_action: probabilities of its last time before the placer, by node.
        order: its place among WAITING jobs, least first.
        listeners: other clients that asked after it, the newest last. Forgotten when the planner restarts: a client
            that hears nothing asks again.
    """

    id: str
    client: str
    request: ImageRequest
    units: float
    ingress: str | None
    priority: Priority
    created_at: float
    deadline_at: float | None
    state: JobState = JobState.WAITING
    node: str | None = None
    attempts: int = 0
    failures: int = 0
    foretold_s: float | None = None
    latent_action: Mapping[str, float] | None = None
    order: OrderKey = (0, 0.0, "")
    listeners: tuple[str, ...] = ()

    @classmethod
    def of(cls, submission: Submission, now: float) -> LiveJob:
        """Return the job a submission asks for, accepted `now`."""
        deadline_s = submission.deadline_s
        return cls(
            id=submission.job,
            client=submission.client,
            request=submission.request,
            units=units_of(submission.request),
            ingress=submission.ingress,
            priority=submission.priority,
            created_at=now,
            deadline_at=None if deadline_s is None else now + deadline_s,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> LiveJob:
        """Return the job of a ledger row that is not terminal."""
        return cls(
            id=row["id"],
            client=row["client"],
            request=ImageRequest(**row["request"]),
            units=row["units"],
            ingress=row["ingress"],
            priority=Priority(row["priority"]),
            created_at=row["created_at"],
            deadline_at=row["deadline_at"],
            state=JobState(row["state"]),
            node=row["node"],
            attempts=row["attempts"],
            failures=row["failures"],
            foretold_s=row["foretold_s"],
        )

    def row(self) -> dict[str, Any]:
        """Return the ledger row of a new job."""
        return {
            "id": self.id,
            "client": self.client,
            "request": self.request.to_wire(),
            "model": self.request.model,
            "units": self.units,
            "ingress": self.ingress,
            "priority": int(self.priority),
            "state": self.state,
            "node": self.node,
            "attempts": self.attempts,
            "failures": self.failures,
            "created_at": self.created_at,
            "deadline_at": self.deadline_at,
            "foretold_s": self.foretold_s,
        }

    def add_listener(self, client: str) -> None:
        """Send the job's events to `client`, too."""
        if client != self.client:
            others = [other for other in self.listeners if other != client]
            self.listeners = (*others, client)[-MOST_LISTENERS:]

    def hand_over_to(self, client: str) -> None:
        """Make `client` the one whose job it is; the one before goes on listening."""
        before, self.client = self.client, client
        self.listeners = tuple(other for other in self.listeners if other != client)
        self.add_listener(before)

    def view(self, now: float) -> JobView:
        """Return what a placer sees of the job."""
        request = self.request
        megapixels = request.width_px * request.height_px * 1e-6 * request.n
        return JobView(
            job=self.id,
            model=request.model,
            units=self.units,
            ingress=self.ingress,
            input_mbit=len(request.image or "") * MBIT_PER_BASE64_CHARACTER,
            output_mbit=megapixels * OUTPUT_MBIT_PER_MEGAPIXEL,
            waited_s=now - self.created_at,
            latent_action=self.latent_action,
        )


def units_of(request: ImageRequest) -> float:
    """Return the work of `request` in megapixel steps."""
    return work_units(
        num_inference_steps=request.num_inference_steps,
        width_px=request.width_px,
        height_px=request.height_px,
        n=request.n,
    )


class WaitingJobs:
    """A priority queue of WAITING jobs for each model: logarithmic push and pop, removal in constant time.

    By model, so that jobs of a model that no node serves do not stand before the others.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[OrderKey, str]]] = {}
        self._jobs: dict[str, LiveJob] = {}
        self.units = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def push(self, job: LiveJob) -> None:
        """Add a job, ordered by its `order`; one that is there already stays as it is."""
        if job.id not in self._jobs:
            self._jobs[job.id] = job
            self.units += job.units
            heapq.heappush(self._heaps.setdefault(job.request.model, []), (job.order, job.id))

    def remove(self, job: str) -> None:
        """Take a job out; its place in the heap is skipped when it comes up."""
        removed = self._jobs.pop(job, None)
        if removed is not None:
            self.units = self.units - removed.units if self._jobs else 0.0

    def take(self, count: int, models: Container[str] | None = None) -> list[LiveJob]:
        """Take out and return the first `count` jobs in order, of `models` only unless that is None."""
        asked = [model for model in self._heaps if models is None or model in models]
        firsts = [(heap[0], model) for model in asked if (heap := self._live_heap(model))]
        heapq.heapify(firsts)
        taken: list[LiveJob] = []
        while firsts and len(taken) < count:
            (_, job_id), model = heapq.heappop(firsts)
            taken.append(self._jobs[job_id])
            self.remove(job_id)
            if heap := self._live_heap(model):
                heapq.heappush(firsts, (heap[0], model))
        return taken

    def _live_heap(self, model: str) -> list[tuple[OrderKey, str]]:
        """Return a model's heap, its first entry a job that waits; it is forgotten when it has none."""
        heap = self._heaps[model]
        while heap:
            order, job_id = heap[0]
            job = self._jobs.get(job_id)
            if job is not None and job.order == order:
                return heap
            heapq.heappop(heap)
        del self._heaps[model]
        return heap
