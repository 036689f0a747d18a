"""How an image came to be, written into its PNG as AUTOMATIC1111's web UI does, for its readers and many others.

Nothing of it depends on when or where the image was drawn, so the same request still gives the same bytes.

Source: `create_infotext` in modules/processing.py, `save_image_with_geninfo` in modules/images.py of
https://github.com/AUTOMATIC1111/stable-diffusion-webui
Differs: no hashes of models and no version.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from broker_config.messages import DEFAULT_STRENGTH

if TYPE_CHECKING:
    from PIL.Image import Image

    from broker_config.messages import ImageRequest

CHUNK = "parameters"
A1111_NAMES = {
    "DDIMScheduler": "DDIM",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "DPMSolverSinglestepScheduler": "DPM++ 2S a",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "FlowMatchEulerDiscreteScheduler": "Euler",
    "FlowMatchHeunDiscreteScheduler": "Heun",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "KDPM2DiscreteScheduler": "DPM2",
    "LCMScheduler": "LCM",
    "LMSDiscreteScheduler": "LMS",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
}


def sampler_of(scheduler: object) -> str:
    """Return what A1111 calls a scheduler of diffusers, or else its class; empty for None: there are several, say."""
    if scheduler is None:
        return ""
    name = type(scheduler).__name__
    return A1111_NAMES.get(name, name.removesuffix("Scheduler"))


def infotext(request: ImageRequest, seed: int, sampler: str) -> str:
    """Return the text about one image.

    Args:
        request: that it was drawn for.
        seed: its own.
        sampler: that drew it; empty if none did.
    """
    facts = {
        "Steps": str(request.num_inference_steps),
        "Sampler": sampler,
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": str(seed),
        "Size": f"{request.width_px}x{request.height_px}",
        "Model": request.model,
        "Denoising strength": "" if request.image is None else f"{request.strength or DEFAULT_STRENGTH:g}",
    }
    last = ", ".join(f"{name}: {_quoted(value)}" for name, value in facts.items() if value)
    negative = [f"Negative prompt: {request.negative_prompt}"] if request.negative_prompt else []
    adapters = [f" <lora:{name}:{weight:g}>" for name, weight in (request.adapters or {}).items()]
    return "\n".join(["".join([request.prompt, *adapters]), *negative, last])


def png_of(image: Image, text: str) -> bytes:
    """Return an image as PNG, with `text` about it unless that is empty."""
    chunks = PngInfo()
    if text:
        chunks.add_text(CHUNK, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def _quoted(value: str) -> str:
    """Return a value so that commas and colons in it do not end it."""
    return json.dumps(value, ensure_ascii=False) if {",", ":", "\n"} & set(value) else value
