"""The picture that a request starts from (img2img), as the image model takes it: upright, opaque, 8 bits a colour."""

from __future__ import annotations

import base64
import binascii
import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from workers.errors import BadRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

    from broker_config.messages import ImageRequest

FORMATS = ("PNG", "JPEG", "WEBP")
BACKGROUND = (255, 255, 255)  # what shows through: the white of a page, and of A1111
MAX_START_PIXELS = 50_000_000  # a few hundred bytes can claim billions
BITS_16, SCALE_16 = 65535, 257  # 65535 / 257 = 255
EXIF_ERRORS = (OSError, ValueError, TypeError, KeyError, SyntaxError, OverflowError, struct.error)


def start_image(request: ImageRequest) -> Image:
    """Decode the request's image and bring it to the requested size, in RGB.

    It is turned as its EXIF data say, 16 bits a colour are scaled to 8, and what is transparent shows `BACKGROUND`. Of
    an animation it is the first picture.

    Raises:
        BadRequestError: it is not base64, not an image, or far too large.
    """
    try:
        data = base64.b64decode(request.image or "", validate=True)
        opened = PillowImage.open(io.BytesIO(data), formats=FORMATS)  # its header only
        if opened.width * opened.height > MAX_START_PIXELS:
            raise BadRequestError("image", f"{opened.width}x{opened.height} pixels are over {MAX_START_PIXELS:,}")
        opened.load()
        image = _opaque(_upright(opened))
    except (binascii.Error, UnidentifiedImageError, PillowImage.DecompressionBombError, OSError, SyntaxError) as error:
        raise BadRequestError("image", f"is no PNG, JPEG or WebP in base64: {error}") from error
    return image.resize((request.width_px, request.height_px), PillowImage.Resampling.LANCZOS)


def _upright(image: Image) -> Image:
    """Return the picture as it was taken; broken EXIF data turn nothing, as in a browser.

    Source: https://pillow.readthedocs.io/en/stable/reference/ImageOps.html#PIL.ImageOps.exif_transpose
    """
    try:
        return ImageOps.exif_transpose(image)
    except EXIF_ERRORS:
        return image


def _opaque(image: Image) -> Image:
    """Return the picture in RGB, as it looks on a page of `BACKGROUND`."""
    if image.mode.startswith("I"):
        image = _of_8_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    return PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, BACKGROUND), with_alpha).convert("RGB")


def _of_8_bits(image: Image) -> Image:
    """Return a grey picture of 16 bits with 8; Pillow's own conversion clips it to white.

    A PNG may name one of its greys as transparent. (Pillow reads pictures in colour with 8 bits in the first place.)
    """
    grey = np.asarray(image).astype(np.uint32)
    shown = PillowImage.fromarray(((grey.clip(0, BITS_16) + SCALE_16 // 2) // SCALE_16).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return shown
    alpha = PillowImage.fromarray(np.where(grey == transparent, 0, 255).astype(np.uint8))
    return PillowImage.merge("LA", (shown, alpha))
