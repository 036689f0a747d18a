"""The gateway's Prometheus metrics: how requests were answered, and how long that took.

Several processes of one gateway count together: `ladle serve --processes` names them a folder for that.

Source: https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import shutil
import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_config.settings import Settings

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the client library reads it when it is imported
NO_ROUTE = "none"
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class RequestMetrics:
    """ASGI middleware that counts requests by route, method and status.

    Args:
        app: what comes behind.
        registry: takes the metrics.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "ladle_http_requests", "HTTP requests answered.", ["route", "method", "status"], registry=registry
        )
        self._duration = Histogram(
            "ladle_http_request_duration_seconds",
            "Time from an HTTP request to the end of its answer.",
            ["route"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, and count it when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            method = scope["method"] if route != NO_ROUTE else NO_ROUTE  # a caller may invent methods
            self._requests.labels(route, method, status).inc()
            self._duration.labels(route).observe(time.monotonic() - began_at)


def metrics_route(registry: CollectorRegistry) -> Route:
    """Return GET /metrics of this gateway, of all its processes together."""

    async def show(_request: Request) -> Response:
        shown = registry
        if FOLDER in os.environ:
            shown = CollectorRegistry()
            MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
        return Response(generate_latest(shown), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", show)


def shared_by_processes(settings: Settings, processes: int) -> dict[str, str]:
    """Return the variables by which `processes` of one gateway count together, and make the folder they name."""
    if processes == 1:
        return {}
    folder = settings.data_dir / f"gateway-metrics-{settings.http_port}"
    shutil.rmtree(folder, ignore_errors=True)  # counts of processes that have ended
    folder.mkdir(parents=True)
    return {FOLDER: str(folder.absolute())}
