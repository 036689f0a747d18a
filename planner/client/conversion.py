"""An image in another format than PNG, with what its PNG says about how it came to be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image

CHUNK = "parameters"  # of a PNG; its worker writes it, as A1111 does
FORMATS_WITH_EXIF = frozenset({"JPEG", "WEBP"})
USER_COMMENT = 0x9286  # its tag in EXIF
MAX_EXIF_BYTES = 65_000  # a JPEG has 65,533 for all of it


def provenance_of(png: bytes) -> str:
    """Return the text about an image, empty if its PNG has none."""
    return str(Image.open(io.BytesIO(png)).info.get(CHUNK, ""))


def convert(png: bytes, file: Path | IO[bytes], picture_format: str, quality: int | None = None) -> None:
    """Write an image in a format of Pillow's.

    A JPEG or WebP gets the text about it as `UserComment` of its EXIF data, as A1111 writes it, unless it is too long.

    Args:
        png: its bytes.
        file: where to.
        picture_format: "JPEG", say.
        quality: of a JPEG or WebP, 0 to 100; None: Pillow's own.
    """
    image = Image.open(io.BytesIO(png))
    options: dict[str, Any] = {} if quality is None else {"quality": quality}
    exif = _exif(str(image.info.get(CHUNK, "")))
    if picture_format.upper() in FORMATS_WITH_EXIF and exif is not None:
        options["exif"] = exif
    image.convert("RGB").save(file, picture_format, **options)


def _exif(text: str) -> Image.Exif | None:
    """Return EXIF data with a comment.

    Source: CIPA DC-008 (Exif 2.32), UserComment: 8 bytes that name the character code, then the text.
    """
    comment = b"UNICODE\x00" + text.encode("utf-16-be", "replace")
    if not text or len(comment) > MAX_EXIF_BYTES:
        return None
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[USER_COMMENT] = comment
    return exif
