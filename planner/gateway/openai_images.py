"""The surface of the OpenAI Images API: generations, edits, models.

Source: https://platform.openai.com/docs/api-reference/images
Differs: previews are small and of the first image; no masks. Beside OpenAI's fields there are `negative_prompt`,
`seed`, `num_inference_steps`, `guidance_scale`, `adapters`, `strength`, `ingress`, `priority` and `deadline_s`.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker_config.errors import LadleError
from broker_config.messages import Event
from planner.client.result import Result
from planner.gateway.connection import (
    EventStream,
    body_of,
    caller_of,
    comment,
    event,
    json_body,
    owner_of,
    unless_gone,
    warning_headers,
)
from planner.gateway.handler import Handler, Watch
from planner.gateway.models import ServedModels
from planner.gateway.orders import ImageOrder, order_of
from planner.gateway.pictures import picture_path, pictures_of, preview_of
from planner.gateway.problems import HttpProblem, Json, problem_of

MAX_FORM_FIELDS = 40  # twice what there are
FORM_IMAGES = ("image", "image[]")


def openai_routes(handler: Handler, models: ServedModels) -> list[Route]:
    """Return the routes below /v1."""

    async def generations(request: Request) -> Response:
        given = await json_body(request)
        order = order_of(given, owner_of(request), await models.names(), models.defaults)
        return await _answer(handler, request, order)

    async def edits(request: Request) -> Response:
        await body_of(request)  # kept, for the hash of it
        async with request.form(max_files=3, max_fields=MAX_FORM_FIELDS) as form:  # image, mask and one too many
            image = await _image_of(form)
            given = {name: value for name, value in form.items() if isinstance(value, str)}
        order = order_of(given, owner_of(request), await models.names(), models.defaults, image)
        return await _answer(handler, request, order)

    async def list_models(_request: Request) -> Response:
        served = await models.with_adapters()
        return Json({"object": "list", "data": [_model(name, adapters) for name, adapters in served.items()]})

    async def one_model(request: Request) -> Response:
        name = request.path_params["name"]
        served = await models.with_adapters()
        if name not in served:
            raise HttpProblem(404, f"no node serves {name[:60]!r}", code="model_not_found", param="model")
        return Json(_model(name, served[name]))

    async def variations(_request: Request) -> Response:
        raise HttpProblem(501, "Ladle draws no variations: use /v1/images/edits with a prompt", code="not_implemented")

    return [
        Route("/v1/images/generations", generations, methods=["POST"]),
        Route("/v1/images/edits", edits, methods=["POST"]),
        Route("/v1/images/variations", variations, methods=["POST"]),
        Route("/v1/models", list_models),
        Route("/v1/models/{name:path}", one_model),
    ]


def unseen(order: ImageOrder) -> ImageOrder:
    """Return an order without previews, which one answer has no place for: nobody need make them."""
    fields = order.fields.copy()
    if fields.pop("partial_images", None) is None:
        return order
    warnings = (*order.warnings, "partial_images means nothing without stream")
    return dataclasses.replace(order, fields=fields, warnings=warnings)


async def _image_of(form: FormData) -> bytes:
    """Return the one picture of a form.

    Raises:
        HttpProblem: there is none, or more, or a mask.
    """
    if "mask" in form:
        raise HttpProblem(501, "mask: Ladle cannot inpaint; leave the mask away", code="not_implemented", param="mask")
    files = [file for name in FORM_IMAGES for file in form.getlist(name) if isinstance(file, UploadFile)]
    if len(files) != 1:
        raise HttpProblem(
            422, f"image: {len(files)} files; give one PNG, JPEG or WebP", code="invalid_value", param="image"
        )
    return await files[0].read()


def _model(name: str, adapters: Sequence[str]) -> dict[str, Any]:
    """Return a model as OpenAI does, and with it what its nodes have of adapters."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "ladle", "adapters": list(adapters)}


async def _answer(handler: Handler, request: Request, order: ImageOrder) -> Response:
    """Submit an order; return its images, or the stream of its events."""
    order = order if order.is_streamed else unseen(order)
    watch = await handler.begin(await caller_of(request), order)
    base = str(request.base_url).rstrip("/")
    headers = {**warning_headers(order.warnings), "x-ladle-job": watch.job}
    if order.is_streamed:
        return EventStream(_events(handler, watch, order), watch.leave, headers)
    try:
        result = await unless_gone(request, watch.result())
    finally:
        watch.leave()
    pictures = await asyncio.to_thread(pictures_of, result, order)
    urls = [
        base + picture_path(owner_of(request), result.job, index, order.picture_format, order.compression)
        for index in range(len(pictures))
    ]
    headers |= warning_headers((*order.warnings, *result.warnings))
    return Json(_body(result, order, pictures, urls), headers=headers)


def _body(result: Result, order: ImageOrder, pictures: list[bytes], urls: list[str]) -> dict[str, Any]:
    """Return both forms of each image where none is asked for: LibreChat reads b64_json, LangChain reads url."""
    data = [
        {"b64_json": base64.b64encode(picture).decode(), "url": url, "seed": image.seed}
        for picture, url, image in zip(pictures, urls, result.images, strict=True)
    ]
    unasked = {"b64_json": "url", "url": "b64_json"}.get(order.response_format or "")
    for image in data:
        image.pop(unasked or "", None)
    return {"created": int(time.time()), "data": data, "output_format": order.picture_format, "ladle": _facts(result)}


def _facts(result: Result) -> dict[str, Any]:
    """Return where the images come from: fields that OpenAI's answer has not."""
    return {
        "job": result.job,
        "model": result.model,
        "node": result.node,
        "placer": result.placer,
        "service_delay_s": result.delays.service_delay_s,
    }


async def _events(handler: Handler, watch: Watch, order: ImageOrder) -> AsyncGenerator[bytes, None]:
    """Yield a comment for each thing that happens, then each image as `image_generation.completed`."""
    seen = 0
    try:
        async for happened in watch.events():
            yield comment("waiting" if happened is None else _progress(happened))
            if happened is not None and (preview := preview_of(happened, order.picture_format)):
                yield _partial(*preview, order, seen)
                seen += 1
        result = await watch.handle.result()
        pictures = await asyncio.to_thread(pictures_of, result, order)
    except (LadleError, HttpProblem) as exc:
        yield event("error", {"type": "error", **problem_of(exc, handler.eta_s).body()})
        return
    for picture, image in zip(pictures, result.images, strict=True):
        kind = "image_generation.completed"
        data = {
            "type": kind,
            "b64_json": base64.b64encode(picture).decode(),
            "created_at": int(time.time()),
            "output_format": order.picture_format,
            "seed": image.seed,
            "ladle": _facts(result),
        }
        yield event(kind, data)


def _partial(picture: bytes, size: str, order: ImageOrder, index: int) -> bytes:
    kind = "image_generation.partial_image"
    data = {
        "type": kind,
        "b64_json": base64.b64encode(picture).decode(),
        "created_at": int(time.time()),
        "size": size,
        "output_format": order.picture_format,
        "partial_image_index": index,
    }
    return event(kind, data)


def _progress(happened: Event) -> str:
    step = f" {happened.step}/{happened.image_steps}" if happened.image_steps else ""
    return f"{happened.kind}{step}"
