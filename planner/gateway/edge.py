"""What every request passes first: whose key it brings, how large it may be, how many there may be at once."""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_config.errors import LadleError
from broker_config.settings import Settings
from planner.gateway.keys import KeyFile, Owner, is_loopback, open_owner
from planner.gateway.problems import HttpProblem, problem_of
from planner.gateway.sessions import SESSION_PATH, owner_of_session, refuse_other_pages

logger = logging.getLogger(__name__)

PUBLIC = ("/", "/health", "/docs", "/openapi.json")
PUBLIC_FOLDER = "/static/"  # of the page, which asks for a key itself
JSON_ESCAPE_BYTES = 6  # \\u0041: the longest form of a byte of a prompt
OTHER_FIELDS_BYTES = 64 * 1024  # all fields but prompts and picture, and the bounds of a form's parts


def body_limit_bytes(settings: Settings) -> int:
    """Return the size of the largest valid request: two prompts and one picture, as `submit` limits them."""
    prompts = 2 * JSON_ESCAPE_BYTES * settings.max_prompt_bytes
    return prompts + int(settings.message_limit_mib * 2**20) + OTHER_FIELDS_BYTES


class Edge:
    """ASGI middleware.

    Args:
        app: what comes behind.
        settings: limits.
        keys: who may ask.
        eta_s: predicted seconds until there is room again.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyFile, eta_s: Callable[[], float]) -> None:
        self._app = app
        self._keys = keys
        self._is_unguarded = settings.http_keys == "never"
        self._is_open = settings.http_keys == "auto" and is_loopback(settings.http_host)
        self._origins = settings.http_origin_list
        self._eta_s = eta_s
        self._max_requests = settings.http_max_requests
        self._body_limit_bytes = body_limit_bytes(settings)
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._answer(scope, receive, _logged(scope, send))
        finally:
            self._requests -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope.setdefault("state", {})["owner"] = self._check(scope)
        except (HttpProblem, LadleError) as exc:  # no route is found yet that could answer
            await problem_of(exc, self._eta_s()).response()(scope, receive, send)
        else:
            await self._app(scope, self._bounded(receive), send)

    def _check(self, scope: Scope) -> Owner | None:
        """Return whose request it is; None where nobody need say.

        Raises:
            HttpProblem: it may not pass.
        """
        headers = Headers(scope=scope)
        if scope["path"] in PUBLIC or scope["path"].startswith(PUBLIC_FOLDER):
            return self._owner_or_nobody(scope, headers)
        if self._requests > self._max_requests:
            message = f"{self._max_requests} requests wait here already: try again later"
            raise HttpProblem(429, message, code="too_many_requests", retry_after_s=self._eta_s())
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._body_limit_bytes:
            raise self._too_large()
        return self._owner(scope, headers)

    def _owner_or_nobody(self, scope: Scope, headers: Headers) -> Owner | None:
        try:
            return self._owner(scope, headers)
        except (HttpProblem, LadleError):
            return None

    def _owner(self, scope: Scope, headers: Headers) -> Owner | None:
        if self._is_unguarded:
            return open_owner(may_operate=False)  # whoever that is
        # What uvicorn was told may differ from the settings: the address that the connection came to does not lie.
        is_near = is_loopback((scope.get("server") or ("", None))[0])
        if self._is_open and is_near and not self._keys.owners():
            _refuse_foreign_pages(headers, self._origins)
            return open_owner(may_operate=True)  # as `ladle` would let whoever sits at this machine
        key = key_of(headers.get("authorization", ""))
        if not key and scope["path"].startswith("/images/") and b"signature=" in scope["query_string"]:
            return None  # the URL itself says who may see it
        owner = self._keys.owner_of(key) if key else owner_of_session(self._keys, headers.get("cookie", ""))
        if owner is not None and not key:
            refuse_other_pages(scope["method"], headers)
        if owner is None and scope["path"] != SESSION_PATH:
            message = "this key is not valid" if key else "a key is needed: Authorization: Bearer KEY"
            hint = "" if self._keys.owners() else "; there is none yet: `ladle key add NAME` makes one"
            raise HttpProblem(401, message + hint, code="invalid_api_key")
        return owner

    def _bounded(self, receive: Receive) -> Receive:
        """Return `receive` for a body whose length nobody has said, or which is longer than was said."""
        seen_bytes = 0

        async def bounded() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._body_limit_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> HttpProblem:
        message = f"the body is larger than {self._body_limit_bytes} bytes, the most that a request may need"
        return HttpProblem(413, message, code="request_too_large")


def _logged(scope: Scope, send: Send) -> Send:
    """Return `send`, and log how a request is answered; not its query, which may hold a signature."""
    began_at = time.monotonic()

    async def logged(message: Message) -> None:
        if message["type"] == "http.response.start":
            owner = scope.get("state", {}).get("owner")
            who, took_s = owner.name if owner else "-", time.monotonic() - began_at
            logger.info("%s %s %s %d %.3f s", who, scope["method"], scope["path"], message["status"], took_s)
        await send(message)

    return logged


def key_of(authorization: str) -> str:
    """Return the key of a header: a bearer's, or the password that A1111's clients send; empty: none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _refuse_foreign_pages(headers: Headers, origins: Sequence[str]) -> None:
    """Refuse what a page in a browser sends that this machine did not serve: nobody is asked for a key here.

    Raises:
        HttpProblem: the host it asks for, or the page it comes from, is elsewhere.
    """
    origin = headers.get("origin")
    is_near = origin is None or origin in origins or is_loopback(_host_of(origin))
    if not is_near or not is_loopback(_host_of(f"//{headers.get('host', '')}")):
        message = "without keys this machine only is served: make a key with `ladle key add NAME`"
        raise HttpProblem(403, message, code="foreign_origin")


def _host_of(url: str) -> str:
    """Return the host of a URL; empty: it has none, or cannot be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
