"""Small pictures of an image that is not finished, made from its latents without the image decoder.

A latent cell is nearly a linear function of the colour that it stands for. The function is fitted once for a model: its
own encoder looks at a chart of random colours, and least squares does the rest. A preview then costs one small
multiplication. Nothing of this happens unless a request asks for previews.
"""

from __future__ import annotations

import base64
import io
import logging
from typing import TYPE_CHECKING, Any

from PIL import Image

from broker_config.bounds import MAX_PREVIEW_CHARACTERS, MAX_PREVIEW_PX

if TYPE_CHECKING:
    import numpy as np

    from broker_config.messages import ImageRequest

logger = logging.getLogger(__name__)

CHART_CELLS = 32  # latent cells a side: a thousand equations for a handful of unknowns
PATCHES = 8  # colours a side
CHART_SEED = 7  # any: the same chart at every node
JPEG_QUALITY = 75  # 128 pixels a side are 3 to 8 kB


def preview_steps(image_steps: int, count: int) -> frozenset[int]:
    """Return the image steps, from 1, after which `count` previews are made: evenly spread, none after the last."""
    return frozenset(round(image_steps * part / (count + 1)) for part in range(1, count + 1)) - {0, image_steps}


class LatentColours:
    """The colours that a model's latents stand for.

    Args:
        vae: of a diffusers pipeline.

    Attributes:
        channels: of its latents.

    Raises:
        AttributeError, RuntimeError, ValueError: it is none that can be used so.
    """

    def __init__(self, vae: Any) -> None:
        import numpy as np

        config = vae.config
        self._scale = float(getattr(config, "scaling_factor", None) or 1.0)
        self._shift = float(getattr(config, "shift_factor", None) or 0.0)
        cells, colours = _chart(vae)
        if not np.isfinite(cells).all():
            raise ValueError("its image encoder overflows")
        self.channels = cells.shape[1]
        self._weights, *_ = np.linalg.lstsq(_with_one(cells), colours, rcond=None)

    def picture(self, latents: Any) -> Image.Image:
        """Return the picture of one image's latents, (channels, height, width), a pixel for each cell."""
        import numpy as np

        channels, height, width = latents.shape
        cells = latents.detach().float().cpu().numpy().reshape(channels, -1).T / self._scale + self._shift
        colours = np.nan_to_num(_with_one(cells) @ self._weights).reshape(height, width, 3)
        return Image.fromarray((np.clip(colours, 0.0, 1.0) * 255).round().astype("uint8"))


def colours_of(pipeline: Any) -> LatentColours | None:
    """Return the colours of a pipeline's latents; None where it has no image encoder that could tell.

    Encoders differ, and some overflow in half precision or have no room: an image is worth more than its previews.
    """
    try:
        return LatentColours(pipeline.vae)
    except (AttributeError, RuntimeError, ValueError) as exc:
        logger.warning("%s has no previews: %s", type(pipeline).__name__, exc)
        return None


def encoded_preview(picture: Image.Image) -> str | None:
    """Return a preview as it travels: base64 of a JPEG; None if it does not become small enough."""
    picture = picture.convert("RGB")
    picture.thumbnail((MAX_PREVIEW_PX, MAX_PREVIEW_PX))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(out.getvalue()).decode()
    return data if len(data) <= MAX_PREVIEW_CHARACTERS else None


def wanted_steps(request: ImageRequest, image_steps: int) -> frozenset[int]:
    """Return the image steps after which a request asks for a preview."""
    return preview_steps(image_steps, request.partial_images or 0)


def _chart(vae: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return latents, (cells, channels), of an image whose colours, (cells, 3) in [0, 1], are known."""
    import numpy as np
    import torch

    patches = np.random.default_rng(CHART_SEED).random((PATCHES, PATCHES, 3), dtype=np.float32)
    colours = patches.repeat(CHART_CELLS // PATCHES, axis=0).repeat(CHART_CELLS // PATCHES, axis=1)
    cell_px = 2 ** (len(vae.config.block_out_channels) - 1)
    image = torch.from_numpy(colours.repeat(cell_px, axis=0).repeat(cell_px, axis=1)).permute(2, 0, 1)[None]
    with torch.no_grad():
        latents = vae.encode((image * 2 - 1).to(device=vae.device, dtype=vae.dtype)).latent_dist.mode()[0]
    channels = latents.shape[0]
    return latents.float().cpu().numpy().reshape(channels, -1).T, colours.reshape(-1, 3)


def _with_one(cells: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.hstack([cells, np.ones((len(cells), 1), dtype=cells.dtype)])
