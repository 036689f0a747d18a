"""The surface of the AUTOMATIC1111 web UI, for what speaks only that: Open WebUI, SillyTavern, Draw Things' clients.

Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
Differs: options are not kept; each request names its model (`override_settings.sd_model_checkpoint`).
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from planner.gateway.connection import caller_of, json_body, owner_of, unless_gone, warning_headers
from planner.gateway.handler import Handler
from planner.gateway.models import ServedModels
from planner.gateway.orders import order_of
from planner.gateway.pictures import pictures_of
from planner.gateway.problems import HttpProblem, Json
from planner.gateway.webui_answers import CHOICES, drawn, loras, progress, sd_model
from planner.gateway.webui_requests import plain_fields, starting_picture, unread


def webui_routes(handler: Handler, models: ServedModels) -> list[Route]:
    """Return the routes below /sdapi/v1."""

    async def draw(request: Request) -> Response:
        given = await json_body(request)
        image = starting_picture(given) if request.url.path.endswith("img2img") else None
        fields = plain_fields(given, image is not None)
        order = order_of(fields, owner_of(request), await models.names(), models.defaults, image)
        watch = await handler.begin(await caller_of(request), order)
        try:
            result = await unless_gone(request, watch.result())
        finally:
            watch.leave()
        pictures = await asyncio.to_thread(pictures_of, result, order)
        warnings = (*order.warnings, *unread(given), *result.warnings)
        return Json(drawn(result, order, pictures), headers=warning_headers(warnings))

    async def options(request: Request) -> Response:
        names = await models.names()
        if request.method == "GET":
            return Json({"sd_model_checkpoint": names[0], "samples_format": "png"})
        wanted = (await json_body(request)).get("sd_model_checkpoint") or names[0]
        if wanted not in names:
            raise HttpProblem(404, f"no node serves {str(wanted)[:60]!r}", code="model_not_found", param="model")
        return Json(None, headers=warning_headers(["options are not kept: choose the model with each request"]))

    async def sd_models(_request: Request) -> Response:
        return Json([sd_model(name) for name in await models.names()])

    async def list_loras(_request: Request) -> Response:
        return Json(loras(chain.from_iterable((await models.with_adapters()).values())))

    async def refresh(_request: Request) -> Response:
        return Json(None)  # what nodes serve is read again by itself

    async def tell_progress(request: Request) -> Response:
        return Json(progress(handler.watched_by(owner_of(request))))

    async def interrupt(request: Request) -> Response:
        for watch in handler.watched_by(owner_of(request)):
            await watch.handle.cancel()
        return Json({})

    def always(answer: Any) -> Any:
        async def endpoint(_request: Request) -> Response:
            return Json(answer)

        return endpoint

    return [
        Route("/sdapi/v1/txt2img", draw, methods=["POST"]),
        Route("/sdapi/v1/img2img", draw, methods=["POST"]),
        Route("/sdapi/v1/options", options, methods=["GET", "POST"]),
        Route("/sdapi/v1/sd-models", sd_models),
        Route("/sdapi/v1/loras", list_loras),
        Route("/sdapi/v1/refresh-checkpoints", refresh, methods=["POST"]),
        Route("/sdapi/v1/refresh-loras", refresh, methods=["POST"]),
        Route("/sdapi/v1/progress", tell_progress),
        Route("/sdapi/v1/interrupt", interrupt, methods=["POST"]),
        *(Route(f"/sdapi/v1/{name}", always(answer)) for name, answer in CHOICES.items()),
    ]
