"""The WAITING jobs in the planner's order."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Container

from broker_config.messages import Priority
from planner.state.fair_shares import FairShares
from planner.state.jobs import LiveJob
from planner.state.needs import Needs
from rl_agent.placing.ordering import OrderKey

_Place = tuple[int, float, OrderKey]  # priority class, step of the owner's share, order of the owner's first job
_Entry = tuple[_Place, str, Needs, bool]  # of an owner and needs, and whether it just came from the heap of the needs


class WaitingJobs:
    """The WAITING jobs in order: priority class, then fair shares of their owners, then each job's own `order`.

    Two levels of heaps. For all jobs of equal needs there is a heap of the owners who wait so, and each of those owners
    has a heap of such jobs. Adding a job and taking one cost the logarithm of their number; removing one is constant.
    The split keeps jobs that no node can do from blocking the others.

    An owner's place changes whenever it is given work, and its entries are not updated at once: an entry may be out of
    date, but never claims a later place than the true one, and is corrected when it reaches the top.

    Args:
        step_s: see `FairShares`.

    Attributes:
        work_s: predicted generation of all of them, on a median node.
    """

    def __init__(self, step_s: float = math.inf) -> None:
        self._jobs: dict[str, LiveJob] = {}
        self._heaps: dict[tuple[Needs, str], list[tuple[OrderKey, str]]] = {}
        self._owners: dict[Needs, list[tuple[_Place, str]]] = {}
        self._count_of = Counter[str]()
        self._shares = FairShares(step_s)
        self.work_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def census(self) -> tuple[Counter[Priority], float | None]:
        """Return how many wait by priority, and since when the oldest job of them is known; None if none waits."""
        jobs = self._jobs.values()
        return Counter(job.priority for job in jobs), min((job.created_at for job in jobs), default=None)

    def count_of(self, owner: str) -> int:
        """Return how many jobs of `owner` wait."""
        return self._count_of[owner]

    def had_s(self, owner: str) -> float:
        """Return the seconds of work that `owner` was given, on the clock of the fair shares."""
        return self._shares.had_s(owner)

    def push(self, job: LiveJob) -> None:
        """Add a job, ordered by its `order`; one that waits already is left as it is."""
        if job.id in self._jobs:
            return
        self._jobs[job.id] = job
        self._count_of[job.owner] += 1
        self.work_s += job.work_s
        self._shares.enter(job.owner)
        self._enter(job)

    def reorder(self, job: LiveJob) -> None:
        """Move a job that waits to where its `order`, which was changed, belongs."""
        if job.id in self._jobs:
            self._enter(job)

    def _enter(self, job: LiveJob) -> None:
        """Put a job into the heaps; an entry with an earlier `order` of it is skipped when it reaches the top."""
        needs = job.needs
        heap = self._heaps.setdefault((needs, job.owner), [])
        heapq.heappush(heap, (job.order, job.id))
        if heap[0] == (job.order, job.id):
            heapq.heappush(self._owners.setdefault(needs, []), (self._place(job), job.owner))

    def needs(self) -> list[Needs]:
        """Return what jobs need that wait, and perhaps some jobs' that wait no more."""
        return list(self._owners)

    def remove(self, job: str) -> None:
        """Take a job out; its entry in the heap is skipped when it reaches the top."""
        removed = self._pop(job)
        if removed is not None and removed.owner not in self._count_of:
            self._shares.leave(removed.owner)

    def charge(self, job: LiveJob) -> None:
        """Charge a job that was taken, and given to a node, to its owner's share."""
        self._shares.charge(job.owner, job.work_s, self._count_of)

    def take(self, count: int, needs: Container[Needs] | None = None) -> list[LiveJob]:
        """Take out and return the first `count` jobs in order, of these `needs` only unless that is None.

        The order is as if each job were charged before the next is chosen. Jobs that get no node must be pushed again
        before the others are charged.
        """
        taken: list[LiveJob] = []
        ahead_s: dict[str, float] = defaultdict(float)
        seen: set[tuple[Needs, str]] = set()
        queue = [
            entry for alike in list(self._owners) if needs is None or alike in needs for entry in self._next(alike)
        ]
        heapq.heapify(queue)
        while queue and len(taken) < count:
            place, owner, alike, is_new = heapq.heappop(queue)
            if is_new:
                for entry in self._next(alike):
                    heapq.heappush(queue, entry)
                if (alike, owner) in seen:
                    continue
                seen.add((alike, owner))
            job = self._first(alike, owner)
            if job is not None and self._place(job, ahead_s[owner]) == place:
                taken.append(job)
                self._pop(job.id)
                ahead_s[owner] += job.work_s
                job = self._first(alike, owner)
            if job is not None:
                heapq.heappush(queue, (self._place(job, ahead_s[owner]), owner, alike, False))
        self._put_back(seen, queue)
        return taken

    def _next(self, alike: Needs) -> list[_Entry]:
        """Take out the next entry of these needs, if there is one."""
        owners = self._owners.get(alike)
        if not owners:
            return []
        place, owner = heapq.heappop(owners)
        return [(place, owner, alike, True)]

    def _put_back(self, seen: set[tuple[Needs, str]], queue: list[_Entry]) -> None:
        """Return the entries that a take removed: corrected where they were looked at, else as they were."""
        for place, owner, alike, is_new in queue:
            if is_new:
                heapq.heappush(self._owners[alike], (place, owner))
        for alike, owner in seen:
            job = self._first(alike, owner)
            if job is not None:
                heapq.heappush(self._owners[alike], (self._place(job), owner))
        for alike in {alike for alike, _ in seen}:
            if not self._owners[alike]:
                del self._owners[alike]

    def _place(self, job: LiveJob, ahead_s: float = 0.0) -> _Place:
        """Return the place of an owner's first job, as if the owner had been given another `ahead_s`."""
        return job.order[0], self._shares.step(job.owner, ahead_s), job.order

    def _first(self, alike: Needs, owner: str) -> LiveJob | None:
        """Return an owner's first job of these needs; drop the owner's heap when it has none."""
        heap = self._heaps.get((alike, owner), [])
        while heap:
            order, job_id = heap[0]
            job = self._jobs.get(job_id)
            if job is not None and job.order == order:
                return job
            heapq.heappop(heap)
        self._heaps.pop((alike, owner), None)
        return None

    def _pop(self, job: str) -> LiveJob | None:
        popped = self._jobs.pop(job, None)
        if popped is not None:
            self.work_s = self.work_s - popped.work_s if self._jobs else 0.0
            self._count_of[popped.owner] -= 1
            if not self._count_of[popped.owner]:
                del self._count_of[popped.owner]
        return popped
