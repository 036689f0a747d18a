"""The open jobs in memory, and the WAITING ones in the planner's order."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from broker_config.messages import ImageRequest, JobState, Priority, Submission
from planner.state.fair_shares import FairShares
from rl_agent.placing.estimates import work_units
from rl_agent.placing.observation import JobView
from rl_agent.placing.ordering import OrderKey

MBIT_PER_BASE64_CHARACTER = 6e-6
OUTPUT_MBIT_PER_MEGAPIXEL = 12.0
MOST_LISTENERS = 8  # images go to each of them

_Place = tuple[int, float, OrderKey]  # priority class, step of the owner's share, order of the owner's first job
_Entry = tuple[_Place, str, str, bool]  # of an owner and a model, and whether it just came from the model's heap


@dataclass(kw_only=True)
class LiveJob:
    """One job that has not ended.

    Attributes:
        owner: whose share it is counted to: the user that `client` is a connection of, else `client` itself.
        attempts: how often it was placed.
        failures: how many of these count against `max_attempts`; a node that hands a job back does not.
        foretold_s: service delay predicted when it was accepted; None if no node was ready.
        latent_action: probabilities of its last time before the placer, by node.
        order: its place among WAITING jobs of its owner, least first.
        work_s: predicted seconds of generation on a middling node, when it began to wait.
        listeners: other clients that asked after it, the newest last. Forgotten when the planner restarts: a client
            that hears nothing asks again.
        unfit_nodes: those that lacked the model or the memory for it. Forgotten likewise.
    """

    id: str
    client: str
    owner: str
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
    work_s: float = 0.0
    listeners: tuple[str, ...] = ()
    unfit_nodes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, submission: Submission, now: float) -> LiveJob:
        """Return the job a submission asks for, accepted `now`."""
        deadline_s = submission.deadline_s
        return cls(
            id=submission.job,
            client=submission.client,
            owner=owner_of_client(submission.client),
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
            owner=owner_of_client(row["client"]),
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


def owner_of_client(client: str) -> str:
    """Return the user that a client is a connection of; one without a user stands for itself.

    The broker holds each user to clients of its own name (`broker_config.rights`).
    """
    return client.partition(".")[0]


def units_of(request: ImageRequest) -> float:
    """Return the work of `request` in megapixel steps."""
    return work_units(
        num_inference_steps=request.num_inference_steps,
        width_px=request.width_px,
        height_px=request.height_px,
        n=request.n,
    )


class WaitingJobs:
    """The WAITING jobs in order: priority class, then fair shares of their owners, then each job's own `order`.

    One heap of jobs for each model and owner, and for each model one of its owners: push, and each job of a take, cost
    the logarithm of their number, removal is constant. By model, so that jobs of a model that no node serves do not
    stand before the others. An entry of an owner may be older than the owner's present place and is put right when it
    comes up; it never claims a later place than the present one.

    Args:
        step_s: see `FairShares`.
    """

    def __init__(self, step_s: float = math.inf) -> None:
        self._jobs: dict[str, LiveJob] = {}
        self._heaps: dict[tuple[str, str], list[tuple[OrderKey, str]]] = {}
        self._owners: dict[str, list[tuple[_Place, str]]] = {}
        self._count_of = Counter[str]()
        self._shares = FairShares(step_s)
        self.units = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def count_of(self, owner: str) -> int:
        """Return how many jobs of `owner` wait."""
        return self._count_of[owner]

    def push(self, job: LiveJob) -> None:
        """Add a job, ordered by its `order`; one that is there already stays as it is."""
        if job.id in self._jobs:
            return
        self._jobs[job.id] = job
        self._count_of[job.owner] += 1
        self.units += job.units
        self._shares.enter(job.owner)
        model = job.request.model
        heap = self._heaps.setdefault((model, job.owner), [])
        heapq.heappush(heap, (job.order, job.id))
        if heap[0] == (job.order, job.id):
            heapq.heappush(self._owners.setdefault(model, []), (self._place(job), job.owner))

    def remove(self, job: str) -> None:
        """Take a job out; its place in the heap is skipped when it comes up."""
        removed = self._pop(job)
        if removed is not None and removed.owner not in self._count_of:
            self._shares.leave(removed.owner)

    def charge(self, job: LiveJob) -> None:
        """Count a job that was taken, and given to a node, to the share of its owner."""
        self._shares.charge(job.owner, job.work_s, self._count_of)

    def take(self, count: int, models: Container[str] | None = None) -> list[LiveJob]:
        """Take out and return the first `count` jobs in order, of `models` only unless that is None.

        The order is the one they would have if each was charged when the next is chosen. Those that get no node after
        all are to be pushed again, before the others are charged.
        """
        taken: list[LiveJob] = []
        ahead_s: dict[str, float] = defaultdict(float)
        seen: set[tuple[str, str]] = set()
        queue = [
            entry for model in list(self._owners) if models is None or model in models for entry in self._next(model)
        ]
        heapq.heapify(queue)
        while queue and len(taken) < count:
            place, owner, model, is_new = heapq.heappop(queue)
            if is_new:
                for entry in self._next(model):
                    heapq.heappush(queue, entry)
                if (model, owner) in seen:
                    continue
                seen.add((model, owner))
            job = self._first(model, owner)
            if job is not None and self._place(job, ahead_s[owner]) == place:
                taken.append(job)
                self._pop(job.id)
                ahead_s[owner] += job.work_s
                job = self._first(model, owner)
            if job is not None:
                heapq.heappush(queue, (self._place(job, ahead_s[owner]), owner, model, False))
        self._put_back(seen, queue)
        return taken

    def _next(self, model: str) -> list[_Entry]:
        """Take out the next entry of `model`, if there is one."""
        owners = self._owners.get(model)
        if not owners:
            return []
        place, owner = heapq.heappop(owners)
        return [(place, owner, model, True)]

    def _put_back(self, seen: set[tuple[str, str]], queue: list[_Entry]) -> None:
        """Return the entries that a take has taken out: at their owners' present places, or as they were."""
        for place, owner, model, is_new in queue:
            if is_new:
                heapq.heappush(self._owners[model], (place, owner))
        for model, owner in seen:
            job = self._first(model, owner)
            if job is not None:
                heapq.heappush(self._owners[model], (self._place(job), owner))
        for model in {model for model, _ in seen}:
            if not self._owners[model]:
                del self._owners[model]

    def _place(self, job: LiveJob, ahead_s: float = 0.0) -> _Place:
        """Return the place of an owner's first job, once the owner had been given another `ahead_s`."""
        return job.order[0], self._shares.step(job.owner, ahead_s), job.order

    def _first(self, model: str, owner: str) -> LiveJob | None:
        """Return an owner's first job of a model; the owner's heap is forgotten when it has none."""
        heap = self._heaps.get((model, owner), [])
        while heap:
            order, job_id = heap[0]
            job = self._jobs.get(job_id)
            if job is not None and job.order == order:
                return job
            heapq.heappop(heap)
        self._heaps.pop((model, owner), None)
        return None

    def _pop(self, job: str) -> LiveJob | None:
        popped = self._jobs.pop(job, None)
        if popped is not None:
            self.units = self.units - popped.units if self._jobs else 0.0
            self._count_of[popped.owner] -= 1
            if not self._count_of[popped.owner]:
                del self._count_of[popped.owner]
        return popped
