"""What a request to the AUTOMATIC1111 web UI means: the fields of an order (`orders`), and the starting picture.

Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
Differs: there are no samplers, upscalers and second passes to choose; what asks for them is warned of.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from broker_config.bounds import MAX_PREVIEWS
from broker_config.errors import RequestRefusedError
from planner.gateway.problems import HttpProblem

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
MODEL_OPTION = "sd_model_checkpoint"
PREVIEW_OPTION = "live_previews_enable"
OPTIONS = (MODEL_OPTION, PREVIEW_OPTION)
LORA = re.compile(r"<lora:([^:<>]+)(?::([^<>]*))?>")  # in a prompt: that is how clients of the web UI name adapters


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
    if model := _overridden(given).get(MODEL_OPTION):
        plain["model"] = model
    if _overridden(given).get(PREVIEW_OPTION) is True:
        plain["partial_images"] = MAX_PREVIEWS
    if adapters := {name: _weight(name, weight) for name, weight in _loras(given)}:
        plain["adapters"] = adapters
        plain["prompt"] = LORA.sub("", given["prompt"]).strip()
    return plain


def unread(given: Mapping[str, Any]) -> list[str]:
    """Return a warning for each field that says something, and nothing to Ladle."""
    settings = {f"override_settings.{name}": value for name, value in _overridden(given).items() if name not in OPTIONS}
    others = {name: given[name] for name in given.keys() - READ} | settings
    names = [name for name, value in sorted(others.items()) if value not in UNSAID]
    return [f"{name} means nothing to Ladle" for name in names]


def starting_picture(given: Mapping[str, Any]) -> bytes:
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
    except (binascii.Error, ValueError) as exc:  # the second one: letters that are no ASCII
        raise RequestRefusedError(f"init_images: is not base64 ({exc})", "init_images") from None


def _overridden(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options that a request changes for itself."""
    settings = given.get("override_settings")
    return settings if isinstance(settings, dict) else {}


def _loras(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name and weight of each adapter in a prompt."""
    prompt = given.get("prompt")
    return LORA.findall(prompt) if isinstance(prompt, str) else []


def _weight(name: str, said: str) -> float:
    """Return the weight that a prompt gives an adapter; a second one, of the U-Net alone, is not told apart."""
    try:
        return float(said.partition(":")[0] or 1.0)
    except ValueError:
        raise RequestRefusedError(f"adapters: {said[:60]!r} is no weight of lora {name[:60]}", "adapters") from None


def _whole(given: Mapping[str, Any], field: str, default: Any) -> int:
    value = given.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise RequestRefusedError(f"{field}: {str(value)[:60]!r} is no whole number above 0", field)
    return value
