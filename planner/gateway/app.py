"""The ASGI app: every surface over one handler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker_config.errors import LadleError
from broker_config.log_format import write_json
from broker_config.log_records import make_log_unforgeable
from broker_config.settings import Settings, load_settings_or_exit
from broker_config.tracing import start_tracing
from planner.gateway.connection import ClientGoneError
from planner.gateway.docs_page import docs_routes
from planner.gateway.edge import Edge
from planner.gateway.handler import Handler
from planner.gateway.job_routes import job_routes
from planner.gateway.keys import key_file
from planner.gateway.mcp_tools import McpEndpoint
from planner.gateway.metrics import RequestMetrics, metrics_route
from planner.gateway.models import ServedModels
from planner.gateway.openai_images import openai_routes
from planner.gateway.page.board import BoardReader
from planner.gateway.page.operator_routes import operator_routes
from planner.gateway.page.routes import page, page_routes
from planner.gateway.problems import HttpProblem, Json, problem_of
from planner.gateway.webhooks import Webhooks
from planner.gateway.webui_routes import webui_routes
from planner.ledger.ledger import Ledger

ALIVE = {"status": "ok", "name": "ladle"}
GONE = 499  # as nginx logs a client that has closed; nobody receives it


def make_gateway(settings: Settings) -> Starlette:
    """Return the app.

    Args:
        settings: where the broker is, who may ask, and limits.
    """
    handler, keys, ledger = Handler(settings), key_file(settings), Ledger(settings.database)
    models = ServedModels(settings, ledger)
    mcp = McpEndpoint(settings, handler, models)
    registry = CollectorRegistry()
    webhooks = Webhooks(settings, handler, keys)
    reader = BoardReader(ledger)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.ensure_future(webhooks.run())
        async with mcp.manager.run():
            yield
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        await handler.close()
        ledger.close()

    async def answer_problem(_request: Request, error: Exception) -> Response:
        return problem_of(error, handler.eta_s).response()

    async def answer_nobody(_request: Request, _error: Exception) -> Response:
        return Response(status_code=GONE)

    async def alive(_request: Request) -> Response:
        return Json(ALIVE)

    async def root(request: Request) -> Response:
        """Show a browser the page; answer programs as Draw Things does, whose clients read the model from here."""
        if "text/html" in request.headers.get("accept", ""):
            return page()
        told: dict[str, Any] = {**ALIVE, "page": "open this address in a browser"}
        if request.state.owner is not None:  # nobody else need know it
            told |= {"model": (await models.names())[0], "upscaler": None}
        return Json(told, headers={"vary": "accept"})

    edge = Middleware(Edge, settings=settings, keys=keys, eta_s=lambda: handler.eta_s)
    errors: dict[Any, Any] = dict.fromkeys((HttpProblem, LadleError, HTTPException, Exception), answer_problem)
    return Starlette(
        routes=[
            Route("/", root),
            Route("/health", alive),
            *page_routes(settings, handler, models, keys, reader),
            *operator_routes(handler, reader),
            *openai_routes(handler, models),
            *webui_routes(handler, models),
            *job_routes(handler, models, keys, ledger, webhooks),
            Route("/mcp", mcp),
            metrics_route(registry),
            *docs_routes(settings),
        ],
        middleware=[*_traced(settings), Middleware(RequestMetrics, registry=registry), *_cors(settings), edge],
        exception_handlers={**errors, ClientGoneError: answer_nobody},
        lifespan=lifespan,
    )


def gateway() -> Starlette:
    """Return the app of a process that uvicorn has started, and have it log each request."""
    make_log_unforgeable()
    settings = load_settings_or_exit("ladle serve")
    disable_created_metrics()  # type: ignore[no-untyped-call]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if settings.log_format == "json":
        for name in (None, "uvicorn"):  # which has a handler of its own
            write_json(logging.getLogger(name))
    start_tracing(settings, "ladle-gateway")
    return make_gateway(settings)


def _traced(settings: Settings) -> list[Middleware]:
    """A span for each request, below the context that its caller sends."""
    if not settings.traces:
        return []
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return [Middleware(OpenTelemetryMiddleware, exclude_spans=["receive", "send"])]


def _cors(settings: Settings) -> list[Middleware]:
    origins = settings.http_origin_list
    if not origins:
        return []
    headers = ["authorization", "content-type", "idempotency-key"]
    return [Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=headers)]
