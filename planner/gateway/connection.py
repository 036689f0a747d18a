"""One HTTP connection: bodies read within their limits, answers that stop when the client has gone, event streams."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker_config.foreign_text import one_line
from planner.gateway.keys import Owner
from planner.gateway.problems import HttpProblem
from planner.gateway.waiting import Caller

READ_S = 60.0  # a body of the largest size over a slow line
MAX_KEY_CHARACTERS = 255  # of an Idempotency-Key, as at Stripe and OpenAI
MAX_HEADER_CHARACTERS = 1000  # of the warnings: far below what any proxy takes
KEY_HEADER = "idempotency-key"
ATTEMPT_HEADER = "x-stainless-retry-count"  # of openai-python and all SDKs made by the same generator
WARNINGS_HEADER = "x-ladle-warnings"

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed its connection."""


async def body_of(request: Request) -> bytes:
    """Return the whole body; `Request` keeps it. How long it may be, `edge` has seen to.

    Raises:
        HttpProblem: it took too long.
    """
    try:
        async with asyncio.timeout(READ_S):
            return await request.body()
    except TimeoutError:
        raise HttpProblem(408, f"the body did not come within {READ_S:g} s", code="timeout") from None


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        HttpProblem: it is none, or took too long.
    """
    body = await body_of(request)
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as exc:
        reason = str(exc)[:100] or "nested too deeply"
        raise HttpProblem(400, f"the body is not JSON: {reason}", code="invalid_json") from None
    if not isinstance(given, dict):
        raise HttpProblem(400, "the body is not a JSON object", code="invalid_json")
    return given


async def caller_of(request: Request) -> Caller:
    """Return who asks, and how a repeated request is known. The body has been read.

    Raises:
        HttpProblem: the Idempotency-Key is empty or too long.
    """
    key = request.headers.get(KEY_HEADER)
    if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise HttpProblem(
            422,
            f"Idempotency-Key: must be 1 to {MAX_KEY_CHARACTERS} characters",
            code="invalid_value",
            param="Idempotency-Key",
        )
    attempt = request.headers.get(ATTEMPT_HEADER) if key is None else None
    digest = "" if attempt is None else hashlib.sha256(await body_of(request)).hexdigest()
    return Caller(owner=owner_of(request), key=key, body_sha256=digest, is_repeated=attempt not in (None, "0"))


def owner_of(request: Request) -> Owner:
    """Return whose key came with the request (`edge`)."""
    owner: Owner = request.state.owner
    return owner


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """Return the header that names what meant nothing."""
    if not warnings:
        return {}
    text = one_line("; ".join(warnings)).encode("ascii", "backslashreplace").decode()
    return {WARNINGS_HEADER: text[:MAX_HEADER_CHARACTERS]}


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, unless the client closes its connection before.

    Raises:
        ClientGoneError: it has; the work is cancelled.
    """
    working: asyncio.Future[T] = asyncio.ensure_future(work)
    await _first(working, request.receive)
    if working.cancelled():
        raise ClientGoneError
    return working.result()


async def _first(working: asyncio.Future[Any], receive: Receive) -> None:
    """Wait until `working` ends or the client goes; then end the other one."""
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in (working, gone):
            future.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, until they end or the client goes.

    Args:
        chunks: what to send, each the whole of an event or comment.
        leave: called in the end, whatever happens.
        headers: beside those of an event stream.
    """

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], leave: Callable[[], None], headers: dict[str, str] | None = None
    ) -> None:
        # The second header is nginx's: do not collect the events.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._chunks = chunks
        self._leave = leave

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            sending = asyncio.ensure_future(self._send_all(send))
            await _first(sending, receive)
            if not sending.cancelled():
                sending.result()
        finally:
            await self._chunks.aclose()
            self._leave()

    async def _send_all(self, send: Send) -> None:
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(kind: str, data: Any, event_id: str | None = None) -> bytes:
    """Return a server-sent event.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    head = f"event: {kind}\n" if event_id is None else f"id: {event_id}\nevent: {kind}\n"
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def comment(text: str) -> bytes:
    """Return a line that clients skip: it keeps proxies from closing a silent connection."""
    return f": {text}\n\n".encode()
