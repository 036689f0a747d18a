"""The one handler behind all surfaces: submits orders, waits for their jobs, and shows nobody the jobs of another.

Each owner has an `AsyncClient` that bears its name, so that fair shares and limits are those of the owner, whichever
gateway it asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

from broker_config.errors import LadleError
from broker_config.messages import Event
from broker_config.settings import Settings
from planner.client.async_client import AsyncClient, AsyncJobHandle
from planner.client.result import Result
from planner.errors import JobUnknownError, PlannerSilentError, ResultTimeoutError
from planner.gateway.job_ids import JobIds, owner_name
from planner.gateway.keys import Owner
from planner.gateway.orders import ImageOrder
from planner.gateway.problems import RETRY_AFTER_S, HttpProblem
from planner.gateway.waiting import Caller, Repetitions, WaitingRequests

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0  # proxies cut what is silent for 30 to 60 s
ANSWER_S = 10.0  # of the planner, about a job that was submitted earlier


async def paced(handle: AsyncJobHandle, patience_s: Callable[[], float]) -> AsyncIterator[Event | None]:
    """Yield each event of a job, and None whenever `patience_s` seconds pass without any."""
    events = handle.events()
    while True:
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not (await asyncio.wait({coming}, timeout=patience_s()))[0]:
                yield None
        finally:
            coming.cancel()
        event = coming.result()
        if event is None:
            return
        yield event


class Watch:
    """A request that waits for a job. Whoever began it calls `leave` in any case.

    Attributes:
        owner: who asked.
        last: the event heard last.
        preview: of its first image, the newest, a JPEG as base64.
        began_at: of the monotonic clock.
    """

    def __init__(self, caller: Caller, handle: AsyncJobHandle, handler: Handler) -> None:
        self.owner = caller.owner
        self.handle = handle
        self.job = handle.job
        self.last: Event | None = None
        self.preview: str | None = None
        self._handler = handler
        self._goes_on = caller.key is not None  # who has a key may come back with it, and must not find it cancelled
        self.began_at = time.monotonic()
        self._due_at = self.began_at

    def eta_s(self) -> float:
        """Return the seconds until the images are there, as predicted last; 0: nothing was, or it takes longer."""
        return max(self._due_at - time.monotonic(), 0.0)

    async def events(self) -> AsyncIterator[Event | None]:
        """Yield each event up to the last one, and None whenever `KEEP_ALIVE_S` pass without any.

        Raises:
            HttpProblem: the time is over; the job goes on.
        """
        async for event in paced(self.handle, self._patience_s):
            self.last = event or self.last
            if event is not None and event.preview is not None:
                self.preview = event.preview
            if event is not None and event.eta_p50_s is not None:
                self._handler.eta_s = event.eta_p50_s
                self._due_at = time.monotonic() + event.eta_p50_s
            yield event
        self._goes_on = True  # as far as anybody can: it has ended

    async def result(self) -> Result:
        """Wait for the images.

        Raises:
            HttpProblem: the time is over; the job goes on.
            JobFailedError: the job ended without images.
        """
        async for _ in self.events():
            pass
        return await self.handle.result()

    def leave(self) -> None:
        """Wait no longer."""
        self._handler.watches.discard(self)
        self._handler.waiting.leave(self.job, goes_on=self._goes_on)

    def _patience_s(self) -> float:
        left_s = self.began_at + self._handler.settings.http_timeout_s - time.monotonic()
        if left_s > 0:
            return min(left_s, KEEP_ALIVE_S)
        self._goes_on = True
        waited_s = self._handler.settings.http_timeout_s
        if self.last is None:
            raise PlannerSilentError(waited_s)
        problem = ResultTimeoutError(self.job, waited_s, str(self.last.kind))
        raise HttpProblem(503, str(problem), code="timeout", retry_after_s=self._handler.eta_s)


class Handler:
    """Submits and watches the jobs of all owners.

    Args:
        settings: where the broker is, and how long to wait.

    Attributes:
        ids: of its jobs.
        waiting: how many requests wait for each job.
        watches: the requests that wait.
        eta_s: predicted seconds to a result, as heard last.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ids = JobIds(settings)
        self.waiting = WaitingRequests(self._cancel, settings.http_cancel_after_s)
        self.watches: set[Watch] = set()
        self.eta_s = RETRY_AFTER_S
        self._repetitions = Repetitions()
        self._clients: dict[str, AsyncClient] = {}

    async def close(self) -> None:
        """Disconnect. Jobs go on."""
        self.waiting.close()
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def begin(self, caller: Caller, order: ImageOrder) -> Watch:
        """Submit an order, or find the job that it is for already, and wait for it from now on.

        Raises:
            LadleError: as `AsyncClient.submit`; nobody waits, then.
        """
        job = self._repetitions.job_of(caller, self.waiting.has) or self.ids.new(caller)
        self._repetitions.note(caller, job)
        self.waiting.enter(job)
        try:
            handle = await self.submit(caller.owner, order, job)
        except BaseException:
            self.waiting.leave(job, goes_on=True)
            raise
        watch = Watch(caller, handle, self)
        self.watches.add(watch)
        return watch

    def watched_by(self, owner: Owner) -> list[Watch]:
        """Return the requests of an owner that wait in this process, the oldest first."""
        return sorted((watch for watch in self.watches if watch.owner == owner), key=lambda watch: watch.began_at)

    async def submit(self, owner: Owner, order: ImageOrder, job: str) -> AsyncJobHandle:
        """Submit an order under an id of `ids`."""
        fields = order.fields.copy()
        fields["idempotency_key"] = job
        return await self._client(owner).submit(**fields)

    async def find(self, owner: Owner, job: str) -> AsyncJobHandle:
        """Return a handle for an earlier job of an owner.

        Raises:
            JobUnknownError: it is no job of this owner, who is no operator either.
        """
        if not owner.may_operate and not job.startswith(self.ids.prefix(owner)):
            raise JobUnknownError(job, "no job of this key has that id")
        return await self._client(owner).handle(job)

    async def finished(self, owner: Owner, job: str) -> Result:
        """Return the result of a job that is over.

        Raises:
            HttpProblem: it goes on.
            JobFailedError: it ended without images, or is unknown.
            PlannerSilentError: no planner answers.
        """
        handle = await self.find(owner, job)
        await handle.status(ANSWER_S)
        try:
            return await handle.result(0)
        except ResultTimeoutError:
            message = f"job {job} goes on: see /jobs/{job}"
            raise HttpProblem(409, message, code="not_done", retry_after_s=self.eta_s) from None

    async def drain(self, owner: Owner, node: str, *, on: bool, for_s: float | None = None) -> None:
        """Ask the planner to stop giving jobs to a node, for a while perhaps, or to start again.

        Who may, the caller has checked.
        """
        await self._client(owner).drain(node, on=on, for_s=for_s)

    def _client(self, owner: Owner) -> AsyncClient:
        if owner.name not in self._clients:
            self._clients[owner.name] = AsyncClient(self.settings, key=owner.name)
        return self._clients[owner.name]

    async def _cancel(self, job: str) -> None:
        """Cancel a job that nobody waits for any more; a repetition that comes now after all is drawn anew."""
        self._repetitions.forget(job)
        try:
            await (await self._clients[owner_name(job)].handle(job)).cancel()
        except LadleError as exc:
            logger.warning("job %s, which nobody waits for, could not be cancelled: %s", job, exc)
        else:
            logger.info("cancelled job %s: nobody waits for it any more", job)
