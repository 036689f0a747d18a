"""Images on their way out: in the format that was asked for, and behind URLs that expire."""

from __future__ import annotations

import base64
import hmac
import io
import time
from urllib.parse import urlencode

from PIL import Image

from broker_config.messages import Event
from planner.client.conversion import convert
from planner.client.result import Result
from planner.gateway.keys import Owner, signature_of
from planner.gateway.orders import FORMATS, ImageOrder, PictureFormat
from planner.gateway.problems import HttpProblem

URL_VALID_S = 3600.0  # as long as OpenAI's: clients fetch at once


def encoded(png: bytes, picture_format: PictureFormat, compression: int) -> bytes:
    """Return an image in the format that was asked for, with what it says about itself; PNG is left as it is.

    Args:
        png: its bytes.
        picture_format: that was asked for.
        compression: quality, 0 to 100.
    """
    if picture_format == "png":
        return png
    out = io.BytesIO()
    convert(png, out, picture_format, compression)
    return out.getvalue()


def preview_of(event: Event, picture_format: PictureFormat) -> tuple[bytes, str] | None:
    """Return the preview that an event brings, in the format that was asked for, and its size; None if it has none.

    The session has seen that it is a small JPEG (`planner.client.previews`); what cannot be drawn is left out.
    """
    if event.preview is None:
        return None
    out = io.BytesIO()
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(event.preview)), formats=["JPEG"]).convert("RGB")
    except OSError:
        return None
    picture.save(out, picture_format)
    return out.getvalue(), f"{picture.width}x{picture.height}"


def pictures_of(result: Result, order: ImageOrder) -> list[bytes]:
    """Return the images of a result as they were ordered. Reads the store where they did not travel by message.

    Raises:
        HttpProblem: they cannot be read here.
    """
    try:
        return [encoded(image.png, order.picture_format, order.compression) for image in result.images]
    except OSError as exc:
        raise HttpProblem(
            500, f"job {result.job} is done, but its images cannot be read here: {exc}", code="store_unavailable"
        ) from exc


def picture_path(owner: Owner, job: str, index: int, picture_format: PictureFormat, compression: int) -> str:
    """Return the path of an image, with what proves that its owner was given it."""
    expires = str(int(time.time() + URL_VALID_S))
    path = f"/images/{job}/{index}.{picture_format}"
    query = {"compression": str(compression), "expires": expires}
    return f"{path}?{urlencode({**query, 'signature': _signature(owner, path, query)})}"


def check_picture_url(owner: Owner, path: str, query: dict[str, str]) -> None:
    """Refuse an image's URL that the gateway did not give out, or too long ago.

    Raises:
        HttpProblem: 403.
    """
    signed = {name: query.get(name, "") for name in ("compression", "expires")}
    is_ours = hmac.compare_digest(query.get("signature", "").encode(), _signature(owner, path, signed).encode())
    if not is_ours or not signed["expires"].isdecimal() or time.time() > int(signed["expires"]):
        raise HttpProblem(403, "this image URL is not valid, or no longer: ask for the image again", code="url_expired")


def picture_name(name: str) -> tuple[int, PictureFormat]:
    """Return which image a file name such as 0.png means.

    Raises:
        HttpProblem: 404.
    """
    index, _, ending = name.partition(".")
    if not (index.isascii() and index.isdecimal() and len(index) < 5 and ending in FORMATS):
        raise HttpProblem(404, f"{name[:40]!r} is no image such as 0.png", code="image_not_found")
    return int(index), ending


def _signature(owner: Owner, path: str, query: dict[str, str]) -> str:
    return signature_of(owner, f"{path}?{urlencode(query)}")
