"""The stream of one open page: panels as they change, and what happens to the caller's open jobs.

A panel is sent when it differs from what was sent last, bars of the timeline one by one. Events of jobs come from the
planner and the nodes, through the client of the owner; of those that come faster than an eye follows, the last counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from broker_config.errors import LadleError
from broker_config.messages import Event
from planner.gateway.connection import comment, event
from planner.gateway.handler import Handler
from planner.gateway.keys import Owner
from planner.gateway.page import views
from planner.gateway.page.board import LOOK_EVERY_S, Board, BoardReader

logger = logging.getLogger(__name__)

PAUSE_S = 0.1  # between two sendings: ten pictures a second look alive
ASK_EVERY_S = 5.0  # the planner, for the time that jobs may still take
MAX_FOLLOWED = 24  # jobs whose events a page hears: those that run come first


def told(heard: Event) -> dict[str, Any]:
    """Return an event for the page: of images only how many there are, and their seeds."""
    shown = heard.model_dump(mode="json", exclude_none=True, exclude={"images"})
    return {**shown, "seeds": [image.seed for image in heard.images]} if heard.images else shown


class Live:
    """What one open page is told.

    Args:
        handler: that finds jobs.
        reader: of the ledger.
        owner: who looks.
    """

    def __init__(self, handler: Handler, reader: BoardReader, owner: Owner) -> None:
        self._handler = handler
        self._reader = reader
        self._owner = owner
        self._prefix = handler.ids.prefix(owner)
        self._sent: dict[str, Any] = {}
        self._bars: dict[str, dict[str, Any]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._heard: dict[str, dict[str, Any]] = {}
        self._asked_at = time.monotonic()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events until the page is closed."""
        yield event("now", time.time())
        look_at = 0.0
        try:
            while True:
                for job in list(self._heard):
                    yield event("job", self._heard.pop(job))
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_EVERY_S
                    async for chunk in self._panels():
                        yield chunk
                await asyncio.sleep(PAUSE_S)
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _panels(self) -> AsyncGenerator[bytes, None]:
        board = await self._reader.look()
        facts, has_changed = self._reader.facts, False
        if not board.lack:
            jobs = await self._reader.jobs_of(self._prefix, sees_others=self._owner.may_operate)
            await self._follow([row["id"] for row in jobs.mine])
            shown = views.queue_view(board, jobs, facts, self._prefix)
        else:
            shown = {"lack": board.lack}
        panels = {
            "queue": shown,
            "nodes": views.nodes_view(board, self._owner),
            "policy": views.policy_view(board),
            "dead": views.dead_view(board, self._owner),
        }
        for name, view in panels.items():
            if self._sent.get(name) != view:
                self._sent[name], has_changed = view, True
                yield event(name, view)
        bars = self._new_bars(board)
        if bars or board.lack:
            yield event("timeline", {"lack": board.lack, "bars": bars})
        elif not has_changed:
            yield comment("nothing new")

    def _new_bars(self, board: Board) -> dict[str, dict[str, Any]]:
        """Return the bars that are new or have changed."""
        if board.lack:
            return {}
        before = self._bars
        self._bars = views.timeline_view(board, self._reader.facts, self._owner, self._prefix)
        gone = {key: {"gone": True} for key in before.keys() - self._bars.keys()}
        return {key: bar for key, bar in self._bars.items() if before.get(key) != bar} | gone

    async def _follow(self, jobs: list[str]) -> None:
        """Hear the events of these jobs, and ask again from time to time how long they may still take."""
        for job in [job for job, task in self._following.items() if task.done()]:
            del self._following[job]
        for job in jobs[:MAX_FOLLOWED]:
            if job not in self._following:
                self._following[job] = asyncio.ensure_future(self._hear(job))
        if self._following and time.monotonic() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = time.monotonic()
            await asyncio.gather(*(self._ask(job) for job in self._following))

    async def _hear(self, job: str) -> None:
        try:
            handle = await self._handler.find(self._owner, job)
            async for heard in handle.events():
                self._heard[job] = self._heard.get(job, {}) | told(heard)
        except LadleError as exc:
            logger.info("the page hears nothing of job %s: %s", job, exc)

    async def _ask(self, job: str) -> None:
        try:
            await self._handler.find(self._owner, job)  # the planner's answer is heard as an event
        except LadleError as exc:
            logger.info("the page could not ask about job %s: %s", job, exc)
