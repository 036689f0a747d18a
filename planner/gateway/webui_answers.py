"""What the AUTOMATIC1111 web UI would answer: images with `info`, progress, and lists of what can be chosen.

Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
Differs: `parameters` has what was drawn, not all that was asked; `progress` has a preview only if it was asked for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from planner.client.conversion import provenance_of
from planner.client.result import Result
from planner.gateway.handler import Watch
from planner.gateway.orders import ImageOrder
from planner.gateway.webui_requests import SAMPLER

# What clients ask for to fill their menus, where Ladle has nothing to choose from.
CHOICES: dict[str, Any] = {
    "samplers": [{"name": SAMPLER, "aliases": [], "options": {}}],
    "schedulers": [{"name": SAMPLER.lower(), "label": SAMPLER, "aliases": None}],
    "upscalers": [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 1}],
    "embeddings": {"loaded": {}, "skipped": {}},
    "scripts": {"txt2img": [], "img2img": []},
    "cmd-flags": {},
    **{
        name: []
        for name in (
            "latent-upscale-modes",
            "sd-vae",
            "hypernetworks",
            "face-restorers",
            "realesrgan-models",
            "prompt-styles",
            "script-info",
        )
    },
}


def sd_model(name: str) -> dict[str, Any]:
    """Return an entry of the list of models; clients read `title` or `model_name`."""
    return {"title": name, "model_name": name, "filename": name, "hash": None, "sha256": None, "config": None}


def loras(adapters: Iterable[str]) -> list[dict[str, Any]]:
    """Return the list of adapters; a prompt names one as <lora:NAME>."""
    return [{"name": name, "alias": name, "path": name, "metadata": {}} for name in sorted(set(adapters))]


def drawn(result: Result, order: ImageOrder, pictures: list[bytes]) -> dict[str, Any]:
    """Return the answer to txt2img and img2img; `info` is a JSON text in it."""
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
        "steps": fields.get("num_inference_steps"),
        "cfg_scale": fields.get("guidance_scale"),
        "batch_size": len(seeds),
    }
    info = {
        **parameters,
        "all_prompts": [parameters["prompt"]] * len(seeds),
        "all_negative_prompts": [parameters["negative_prompt"]] * len(seeds),
        "all_seeds": seeds,
        "infotexts": [
            provenance_of(image.png) or _infotext(parameters, image.seed, result.model) for image in result.images
        ],
        "sd_model_name": result.model,
        "job": result.job,
    }
    return {
        "images": [base64.b64encode(picture).decode() for picture in pictures],
        "parameters": parameters,
        "info": json.dumps(info),
    }


def _infotext(parameters: Mapping[str, Any], seed: int, model: str) -> str:
    """Return an image's parameters as the web UI writes them into its files: the last line has names and values."""
    negative = f"\nNegative prompt: {parameters['negative_prompt']}" if parameters["negative_prompt"] else ""
    pairs = {
        "Steps": parameters["steps"],
        "Sampler": SAMPLER,
        "CFG scale": parameters["cfg_scale"],
        "Seed": seed,
        "Size": f"{parameters['width']}x{parameters['height']}",
        "Model": model,
    }
    said = ", ".join(f"{name}: {value}" for name, value in pairs.items() if value is not None)
    return f"{parameters['prompt']}{negative}\n{said}"


def progress(watches: list[Watch]) -> dict[str, Any]:
    """Return how far the oldest request is that waits in this process."""
    watch = watches[0] if watches else None
    last = watch.last if watch else None
    step, steps = (last.step or 0, last.image_steps or 0) if last else (0, 0)
    return {
        "progress": step / steps if steps else 0.0,
        "eta_relative": watch.eta_s() if watch else 0.0,
        "state": {
            "skipped": False,
            "interrupted": False,
            "job": watch.job if watch else "",
            "job_count": len(watches),
            "job_no": 0,
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": watch.preview if watch else None,
        "textinfo": str(last.kind) if last else None,
    }
