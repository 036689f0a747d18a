"""The surface of the AUTOMATIC1111 web UI, for what speaks only that: Open WebUI, SillyTavern, Draw Things' clients.

Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
Differs: options are not kept; each request names its model (`override_settings.sd_model_checkpoint`). There are no
samplers to choose, no upscalers and no previews; `loras` says none, as nodes do not report theirs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker_config.errors import RequestRefusedError
from planner.client.result import Result
from planner.gateway.connection import caller_of, json_body, owner_of, unless_gone, warning_headers
from planner.gateway.handler import Handler, Watch
from planner.gateway.models import ServedModels
from planner.gateway.orders import ImageOrder, order_of
from planner.gateway.pictures import pictures_of
from planner.gateway.problems import HttpProblem, Json

SAMPLER = "Automatic"  # the model's own: Ladle has no choice of it
RENAMED = {"prompt": "prompt", "negative_prompt": "negative_prompt", "steps": "num_inference_steps", "seed": "seed"}
RENAMED |= {"cfg_scale": "guidance_scale", "denoising_strength": "strength"}
READ = {*RENAMED, "width", "height", "n_iter", "batch_size", "override_settings", "init_images", "mask"}
UNSAID: tuple[Any, ...] = (
    None,
    "",
    False,
    0,
    -1,
    [],
    {},
    SAMPLER,
)  # what clients send for everything they do not ask for


def webui_routes(handler: Handler, models: ServedModels) -> list[Route]:
    """Return the routes below /sdapi/v1."""

    async def draw(request: Request) -> Response:
        given = await json_body(request)
        image = _image_of(given) if request.url.path.endswith("img2img") else None
        fields = plain_fields(given, image is not None)
        order = order_of(fields, owner_of(request), await models.names(), models.defaults, image)
        watch = await handler.begin(await caller_of(request), order)
        try:
            result = await unless_gone(request, watch.result())
        finally:
            watch.leave()
        pictures = await asyncio.to_thread(pictures_of, result, order)
        warnings = (*unread(given), *result.warnings)
        return Json(_body(result, order, pictures), headers=warning_headers(warnings))

    async def options(request: Request) -> Response:
        names = await models.names()
        if request.method == "GET":
            return Json({"sd_model_checkpoint": names[0], "samples_format": "png"})
        wanted = (await json_body(request)).get("sd_model_checkpoint", names[0])
        if wanted not in names:
            raise HttpProblem(404, f"no node serves {str(wanted)[:60]!r}", code="model_not_found", param="model")
        return Json(None, headers=warning_headers(["options are not kept: choose the model with each request"]))

    async def sd_models(_request: Request) -> Response:
        unknown = dict.fromkeys(("hash", "sha256", "config"))
        return Json([{"title": name, "model_name": name, "filename": name, **unknown} for name in await models.names()])

    async def progress(request: Request) -> Response:
        return Json(_progress(handler.watched_by(owner_of(request))))

    async def interrupt(request: Request) -> Response:
        for watch in handler.watched_by(owner_of(request)):
            await watch.handle.cancel()
        return Json({})

    def always(answer: Any) -> Any:
        async def endpoint(_request: Request) -> Response:
            return Json(answer)

        return endpoint

    constant = {
        "samplers": [{"name": SAMPLER, "aliases": [], "options": {}}],
        "schedulers": [{"name": SAMPLER.lower(), "label": SAMPLER}],
        **{name: [] for name in ("upscalers", "latent-upscale-modes", "sd-vae", "loras")},
    }
    return [
        Route("/sdapi/v1/txt2img", draw, methods=["POST"]),
        Route("/sdapi/v1/img2img", draw, methods=["POST"]),
        Route("/sdapi/v1/options", options, methods=["GET", "POST"]),
        Route("/sdapi/v1/sd-models", sd_models),
        Route("/sdapi/v1/progress", progress),
        Route("/sdapi/v1/interrupt", interrupt, methods=["POST"]),
        *(Route(f"/sdapi/v1/{name}", always(answer)) for name, answer in constant.items()),
    ]


def plain_fields(given: Mapping[str, Any], has_image: bool = False) -> dict[str, Any]:
    """Return the fields of an order (`orders`) that a web UI's request means."""
    plain = {ours: given[theirs] for theirs, ours in RENAMED.items() if theirs in given}
    if plain.get("seed") == -1:
        del plain["seed"]
    if not has_image:  # of a second pass that Ladle does not draw
        plain.pop("strength", None)
    if "n_iter" in given or "batch_size" in given:
        plain["n"] = _whole(given, "n_iter", 1) * _whole(given, "batch_size", 1)
    if "width" in given or "height" in given:
        width_px = _whole(given, "width", given.get("height"))
        plain["size"] = f"{width_px}x{_whole(given, 'height', width_px)}"
    settings = given.get("override_settings")
    if isinstance(settings, dict) and "sd_model_checkpoint" in settings:
        plain["model"] = settings["sd_model_checkpoint"]
    return plain


def unread(given: Mapping[str, Any]) -> list[str]:
    """Return a warning for each field that says something, and nothing to Ladle."""
    return [f"{name} means nothing to Ladle" for name in sorted(given.keys() - READ) if given[name] not in UNSAID]


def _whole(given: Mapping[str, Any], field: str, default: Any) -> int:
    value = given.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise RequestRefusedError(f"{field}: {str(value)[:60]!r} is no whole number above 0", field)
    return value


def _image_of(given: Mapping[str, Any]) -> bytes:
    """Return the one picture to start from: base64, perhaps as a data URL.

    Raises:
        HttpProblem: there is a mask.
        RequestRefusedError: it is not one picture.
    """
    if given.get("mask"):
        raise HttpProblem(501, "mask: Ladle cannot inpaint; leave the mask away", code="not_implemented", param="mask")
    images = given.get("init_images")
    if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], str):
        raise RequestRefusedError("init_images: must be a list of one picture in base64", "init_images")
    try:
        return base64.b64decode(images[0].rpartition(",")[2], validate=True)
    except binascii.Error as exc:
        raise RequestRefusedError(f"init_images: is not base64 ({exc})", "init_images") from None


def _body(result: Result, order: ImageOrder, pictures: list[bytes]) -> dict[str, Any]:
    fields = order.fields
    seeds = [image.seed for image in result.images]
    width_px, height_px = result.images[0].pil().size
    parameters = {
        "prompt": fields["prompt"],
        "negative_prompt": fields.get("negative_prompt", ""),
        "seed": seeds[0],
        "width": width_px,
        "height": height_px,
        "sampler_name": SAMPLER,
    }
    texts = [_infotext(parameters, seed, result.model) for seed in seeds]
    info = {**parameters, "all_seeds": seeds, "infotexts": texts, "sd_model_name": result.model, "job": result.job}
    return {
        "images": [base64.b64encode(picture).decode() for picture in pictures],
        "parameters": parameters,
        "info": json.dumps(info),
    }


def _infotext(parameters: Mapping[str, Any], seed: int, model: str) -> str:
    size = f"{parameters['width']}x{parameters['height']}"
    negative = f"\nNegative prompt: {parameters['negative_prompt']}" if parameters["negative_prompt"] else ""
    return f"{parameters['prompt']}{negative}\nSeed: {seed}, Size: {size}, Model: {model}"


def _progress(watches: list[Watch]) -> dict[str, Any]:
    """Return how far the oldest request is that waits in this process."""
    last = watches[0].last if watches else None
    step, steps = (last.step or 0, last.image_steps or 0) if last else (0, 0)
    return {
        "progress": step / steps if steps else 0.0,
        "eta_relative": (last.eta_p50_s or 0.0) if last else 0.0,
        "state": {
            "job": watches[0].job if watches else "",
            "job_count": len(watches),
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": None,
        "textinfo": str(last.kind) if last else None,
    }
