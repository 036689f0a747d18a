"""What an operator does on the page: nodes, policy, dead letters. Jobs have the routes that everybody's jobs have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker_config.bounds import pause_s
from broker_config.errors import RequestRefusedError
from broker_config.rights import Role
from broker_config.rights import owner_of as broker_user_of
from planner.gateway.connection import json_body, owner_of
from planner.gateway.handler import Handler
from planner.gateway.page.board import NO_LEDGER, BoardReader
from planner.gateway.problems import HttpProblem, Json
from planner.gateway.sessions import refuse_foreign_origin
from planner.turns.dead_letters import body_text, queue_of
from rl_agent.errors import UnknownPolicyError
from rl_agent.policy.registry import rollback

MAX_LETTER_ID = 2**63 - 1  # of both databases
T = TypeVar("T")


def operator_routes(handler: Handler, reader: BoardReader) -> list[Route]:
    """Return the routes below /page that only an operator may use."""

    async def drain(request: Request) -> Response:
        body = await json_body(request)
        on = body.get("on")
        if not isinstance(on, bool):
            raise RequestRefusedError(f"on: {str(on)[:20]!r} is neither true nor false", "on")
        try:
            for_s = pause_s(body.get("for_s"))
        except ValueError as exc:
            raise RequestRefusedError(str(exc), "for_s") from None
        check_broker_user(handler)
        node = request.path_params["node"]
        known = await asyncio.to_thread(_with_ledger, reader, reader.ledger.nodes)
        if node not in {row["name"] for row in known}:
            raise HttpProblem(404, f"no node {node[:60]!r} has ever reported", code="node_not_found")
        await handler.drain(owner_of(request), node, on=on, for_s=for_s)
        reader.look_again()
        return Json({"node": node, "draining": on}, 202)

    async def roll_back(request: Request) -> Response:
        reason = f"rolled back on the page by {owner_of(request).name}"
        try:
            rejected, serving = await asyncio.to_thread(
                _with_ledger, reader, lambda connection: rollback(connection, time.time(), reason), writes=True
            )
        except UnknownPolicyError as exc:
            raise HttpProblem(409, str(exc), code="no_policy") from None
        reader.look_again()
        return Json({"rejected": rejected, "serving": serving})

    async def letter(request: Request) -> Response:
        number = _letter_id(request)
        rows = await asyncio.to_thread(_with_ledger, reader, lambda c: reader.ledger.dead_letters(c, [number]))
        if not rows:
            raise HttpProblem(404, f"there is no dead letter {number}", code="letter_not_found")
        (row,) = rows
        return Json({"id": number, "queue": queue_of(row), "headers": row["headers"], "body": body_text(row)})

    async def drop(request: Request) -> Response:
        number = _letter_id(request)
        dropped = await asyncio.to_thread(
            _with_ledger, reader, lambda c: reader.ledger.drop_dead_letters(c, [number]), writes=True
        )
        if not dropped:
            raise HttpProblem(404, f"there is no dead letter {number}", code="letter_not_found")
        reader.look_again()
        return Json({"id": number, "dropped": True})

    return [
        Route("/page/nodes/{node}/drain", _for_operators(drain), methods=["POST"]),
        Route("/page/policy/rollback", _for_operators(roll_back), methods=["POST"]),
        Route("/page/dead/{id}", _for_operators(letter)),
        Route("/page/dead/{id}", _for_operators(drop), methods=["DELETE"]),
    ]


def _for_operators(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def checked(request: Request) -> Response:
        refuse_foreign_origin(request.headers)
        if not owner_of(request).may_operate:
            raise HttpProblem(
                403, "only an operator may: `ladle key add NAME --may-operate` makes a key", code="operators_only"
            )
        return await endpoint(request)

    return checked


def check_broker_user(handler: Handler) -> None:
    """Refuse an order that the broker would refuse: the gateway's own user may not give any."""
    user = broker_user_of(handler.settings.broker)
    if user is not None and user[0] is not Role.PLANNER:
        raise HttpProblem(
            403,
            f"this gateway's broker user is {'.'.join(user)}, which may not drain nodes: use `ladle drain`",
            code="broker_user",
        )


def _with_ledger(reader: BoardReader, work: Callable[[Connection], T], *, writes: bool = False) -> T:
    """Return what `work` does in one transaction.

    Raises:
        HttpProblem: there is no ledger here.
    """
    if not reader.ledger.has_tables():
        raise HttpProblem(501, NO_LEDGER, code="no_ledger")
    with reader.ledger.transaction(reads=not writes) as connection:
        return work(connection)


def _letter_id(request: Request) -> int:
    text = request.path_params["id"]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_LETTER_ID):
        raise HttpProblem(404, f"{text[:20]!r} is no dead letter", code="letter_not_found")
    return int(text)
