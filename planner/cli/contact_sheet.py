"""Many small pictures with captions on one PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELL_PX = 160
PICTURE_PX = 128
CAPTION_PX = 44
MARGIN_PX = 16
INK, FAINT, PAPER = (30, 30, 30), (120, 120, 120), (255, 255, 255)  # RGB: near black, grey, white


@dataclass(frozen=True, kw_only=True)
class SheetPicture:
    """One image and the two lines under it."""

    image: Image.Image
    caption: str
    note: str


def draw_contact_sheet(pictures: Sequence[SheetPicture], path: Path, columns: int = 8) -> None:
    """Write a sheet of `pictures`, `columns` in a row."""
    rows = math.ceil(len(pictures) / columns)
    size = columns * CELL_PX + 2 * MARGIN_PX, rows * (PICTURE_PX + CAPTION_PX + MARGIN_PX) + MARGIN_PX
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left = MARGIN_PX + column * CELL_PX + (CELL_PX - PICTURE_PX) // 2
        top = MARGIN_PX + row * (PICTURE_PX + CAPTION_PX + MARGIN_PX)
        scaled = picture.image.convert("RGB")
        scaled.thumbnail((PICTURE_PX, PICTURE_PX))
        if max(scaled.size) < PICTURE_PX:
            factor = PICTURE_PX // max(scaled.size)
            scaled = scaled.resize((scaled.width * factor, scaled.height * factor), Image.Resampling.NEAREST)
        sheet.paste(scaled, (left + (PICTURE_PX - scaled.width) // 2, top))
        for line, (text, ink) in enumerate(((picture.caption, INK), (picture.note, FAINT))):
            fitted = _fit(draw, text, font, CELL_PX - 8)
            draw.text((left + PICTURE_PX / 2, top + PICTURE_PX + 6 + 17 * line), fitted, ink, font, anchor="mt")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _fit(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, px: int) -> str:
    """Cut `text` to `px` pixels."""
    if draw.textlength(text, font) <= px:
        return text
    while text and draw.textlength(f"{text}…", font) > px:
        text = text[:-1]
    return f"{text}…"
