"""Ladle as tools of a language model: the Model Context Protocol over streamable HTTP, at /mcp.

Each request stands alone, so that any of several gateways can take it. Errors are tool errors: the model that called
reads them, with the field's name in front.

Source: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from broker_config.bounds import ID
from broker_config.errors import LadleError, RequestRefusedError
from broker_config.settings import Settings
from planner.gateway.connection import owner_of
from planner.gateway.edge import body_limit_bytes
from planner.gateway.handler import ANSWER_S, Handler
from planner.gateway.keys import Owner
from planner.gateway.models import ServedModels
from planner.gateway.orders import order_of
from planner.gateway.pictures import pictures_of
from planner.gateway.problems import HttpProblem, problem_of
from planner.gateway.schemas import Schema, order_schemas
from planner.gateway.told_jobs import known, told
from planner.gateway.waiting import Caller

Context = ServerRequestContext[Any, Any]
Call = Callable[[Context, Owner, Mapping[str, Any]], Awaitable[CallToolResult]]


class McpTools:
    """The four tools.

    Args:
        settings: limits.
        handler: of their jobs.
        models: that may be named.
    """

    def __init__(self, settings: Settings, handler: Handler, models: ServedModels) -> None:
        self._handler = handler
        self._models = models
        self._tools = tools(settings)
        self._calls: Mapping[str, Call] = {
            "generate_image": self._generate,
            "job_status": self._status,
            "list_models": self._list_models,
            "cancel": self._cancel,
        }

    async def listed(self, _context: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        """Return the tools."""
        return ListToolsResult(tools=self._tools)

    async def call(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """Call one of them."""
        try:
            call = self._calls.get(params.name)
            if call is None:
                raise RequestRefusedError(f"name: {params.name[:40]!r} is none of {', '.join(self._calls)}", "name")
            return await call(context, owner_of(cast(Request, context.request)), params.arguments or {})
        except (LadleError, HttpProblem) as exc:
            problem = problem_of(exc, self._handler.eta_s)
            return CallToolResult(
                content=[TextContent(text=problem.message)], structured_content=problem.body(), is_error=True
            )

    async def _generate(self, context: Context, owner: Owner, given: Mapping[str, Any]) -> CallToolResult:
        _check_fields(given, self._tools[0].input_schema)
        order = order_of(given, owner, await self._models.names(), self._models.defaults)
        watch = await self._handler.begin(Caller(owner=owner), order)
        try:
            async for event in watch.events():
                if event is not None and event.image_steps:
                    step, steps = event.step or 0, event.image_steps
                    await context.session.report_progress(step, steps, f"job {event.job}: image step {step}/{steps}")
            result = await watch.handle.result()
        finally:
            watch.leave()
        pictures = await asyncio.to_thread(pictures_of, result, order)
        facts = {
            "job": result.job,
            "model": result.model,
            "seeds": [image.seed for image in result.images],
            "warnings": [*order.warnings, *result.warnings],
        }
        drawn = [ImageContent(data=base64.b64encode(data).decode(), mime_type="image/png") for data in pictures]
        return CallToolResult(content=[*drawn, _text(facts)], structured_content=facts)

    async def _status(self, _context: Context, owner: Owner, given: Mapping[str, Any]) -> CallToolResult:
        handle = await self._handler.find(owner, _job_of(given))
        return _answer(told(owner, known(await handle.status(ANSWER_S))))

    async def _list_models(self, _context: Context, _owner: Owner, given: Mapping[str, Any]) -> CallToolResult:
        _check_fields(given, self._tools[2].input_schema)
        return _answer({"models": list(await self._models.names())})

    async def _cancel(self, _context: Context, owner: Owner, given: Mapping[str, Any]) -> CallToolResult:
        handle = await self._handler.find(owner, _job_of(given))
        known(await handle.status(ANSWER_S))
        await handle.cancel()
        return _answer({"job": handle.job, "cancelled": "asked for"})


class McpEndpoint:
    """The ASGI app behind /mcp; `manager.run()` must be entered before it is asked."""

    def __init__(self, settings: Settings, handler: Handler, models: ServedModels) -> None:
        mcp = McpTools(settings, handler, models)
        server: Server[Any] = Server("ladle", version=version("ladle"), on_list_tools=mcp.listed, on_call_tool=mcp.call)
        self.manager = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=body_limit_bytes(settings)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `edge` has let pass."""
        await self.manager.handle_request(scope, receive, send)


def tools(settings: Settings) -> list[Tool]:
    """Return the tools as a model reads of them."""
    job = _object({"job": {"type": "string", "pattern": f"^{ID.pattern}$", "description": "Its id."}}, ["job"])
    return [
        Tool(
            name="generate_image",
            description="Draw images from a prompt. Returns the images, and the id of the job.",
            input_schema=_object(order_schemas(settings), ["prompt"]),
        ),
        Tool(name="job_status", description="Say where a job is, and when it may be done.", input_schema=job),
        Tool(name="list_models", description="List the models that draw.", input_schema=_object({}, [])),
        Tool(name="cancel", description="Cancel a job that has not ended.", input_schema=job),
    ]


def _object(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _check_fields(given: Mapping[str, Any], schema: Schema) -> None:
    """Refuse fields that a tool does not have; what the others hold is checked where they are read.

    Raises:
        RequestRefusedError: the first of them.
    """
    unknown = sorted(given.keys() - schema["properties"].keys())
    if unknown:
        raise RequestRefusedError(f"{unknown[0]}: no such field", unknown[0])


def _job_of(given: Mapping[str, Any]) -> str:
    job = given.get("job")
    if given.keys() != {"job"} or not isinstance(job, str):
        raise RequestRefusedError("job: give the id of a job, and nothing else", "job")
    return job


def _text(answer: Mapping[str, Any]) -> TextContent:
    return TextContent(text=json.dumps(answer))


def _answer(answer: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[_text(answer)], structured_content=answer)
