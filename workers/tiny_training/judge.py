"""Decides by pixel rules whether an image shows what a `Picture` says.

Background: the median colour of the rim. Objects: connected regions that differ from it. Colour: the nearest named
colour of the region's inner pixels. Shape: the template that overlaps best after scaling to the region's box. The rules
know nothing of any model; true renders pass 98 of 100 (`tests/workers/tiny_training/test_judge.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.tiny_training.drawing import shape_mask
from workers.tiny_training.scenes import Picture
from workers.tiny_training.vocabulary import BACKGROUNDS, COLOURS, SHAPES

TEMPLATE_PX = 24
MIN_AREA = 0.006
"""Smallest region, as a fraction of the image, that counts as an object: a speck of 4 x 6 pixels at 64 px."""

EDGE = 0.5
"""An object's pixel lies farther from the background than this share of the object's own distance."""

MIN_DISTANCE = 45.0
"""Least RGB distance of an object from the background: under half of the 95 that pictures keep (`MIN_CONTRAST`), and
far above the tint of 6 a channel."""

CENTRE = 0.09
"""How far from the middle, as a fraction of the side, still counts as the middle."""

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One object as the judge sees it; centre as fractions of the image's width and height."""

    colour: str
    shape: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is right in an image of items. `right` is everything but the place and the background."""

    background: bool
    number: bool
    colour: bool
    shape: bool
    place: bool

    @property
    def right(self) -> bool:
        """Whether number, colours, shapes, and (for pairs) which is where are all right."""
        return self.number and self.colour and self.shape


def judge(image: Image.Image, picture: Picture) -> Verdict:
    """Judge an image of a single object, a pair or a count.

    Args:
        image: any size.
        picture: what it should show; its kind is "single", "pair" or "count".
    """
    pixels = np.asarray(image.convert("RGB"), np.float32)
    background, seen = look(pixels)
    number = len(seen) == len(picture.items)
    if picture.kind == "pair":
        seen = _ordered(seen, picture.details[0])
    pairs = list(zip(picture.items, seen, strict=False))
    place = number
    if picture.kind == "single" and number:
        place = _place(seen[0]) == picture.details[0]
    return Verdict(
        background=background == picture.background,
        number=number,
        colour=bool(seen) and all(item.colour == found.colour for item, found in pairs),
        shape=bool(seen) and all(item.shape == found.shape for item, found in pairs),
        place=place,
    )


def look(pixels: Pixels) -> tuple[str, list[Seen]]:
    """Return the background's colour and the objects of an image of shape (height, width, 3), values 0..255."""
    height, width, _ = pixels.shape
    rim = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, 0], pixels[:, -1]])
    ground = np.median(rim, axis=0)
    distance = np.linalg.norm(pixels - ground, axis=2)
    seen = []
    for region in _regions(distance > MIN_DISTANCE):
        if region.sum() < MIN_AREA * height * width:
            continue
        inner = distance > EDGE * np.percentile(distance[region], 80)
        mask = region & inner
        colour = np.median(pixels[mask], axis=0)
        rows, columns = np.nonzero(mask)
        seen.append(
            Seen(
                colour=_nearest(colour, COLOURS),
                shape=_shape(mask),
                x=float((columns.min() + columns.max() + 1) / 2 / width),
                y=float((rows.min() + rows.max() + 1) / 2 / height),
            )
        )
    return _nearest(ground, BACKGROUNDS), seen


def _nearest(colour: Pixels, names: dict[str, tuple[int, int, int]]) -> str:
    return min(names, key=lambda name: float(np.linalg.norm(colour - np.asarray(names[name], np.float32))))


def _regions(mask: Mask) -> list[Mask]:
    """Split a mask into its 4-connected regions by spreading the largest label until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        spread = np.where(mask, np.maximum.reduce([labels, *around]), 0)
        if np.array_equal(spread, labels):
            return [labels == label for label in np.unique(labels) if label]
        labels = spread


def _shape(mask: Mask) -> str:
    """Name the shape whose template, stretched to the mask's box, has the largest intersection over union."""
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = box.shape
    scaled = _fit(Image.fromarray(box.astype(np.uint8) * 255))
    slender = width / height < 0.84
    scores = {}
    for shape, template in _templates().items():
        overlap = np.minimum(scaled, template).sum() / np.maximum(scaled, template).sum()
        scores[shape] = float(overlap) - (0.15 if slender != (shape == "diamond") else 0.0)
    return max(scores, key=lambda shape: scores[shape])


def _fit(mask: Image.Image) -> Pixels:
    scaled = mask.resize((TEMPLATE_PX, TEMPLATE_PX), Image.Resampling.BOX)
    return np.asarray(scaled).astype(np.float32) / np.float32(255)


@cache
def _templates() -> dict[str, Pixels]:
    templates = {}
    for shape in SHAPES:
        mask = shape_mask(shape, 100, 100, 80, 200)
        templates[shape] = _fit(mask.crop(mask.getbbox()))
    return templates


def _place(seen: Seen) -> str:
    column = "left" if seen.x < 0.5 - CENTRE else "right" if seen.x > 0.5 + CENTRE else ""
    row = "top" if seen.y < 0.5 - CENTRE else "bottom" if seen.y > 0.5 + CENTRE else ""
    return f"{row} {column}".strip() or "center"


def _ordered(seen: list[Seen], relation: str) -> list[Seen]:
    """Sort two objects so that the one which the relation puts first comes first."""
    key = (lambda s: s.x) if relation in ("left", "right") else (lambda s: s.y)
    return sorted(seen, key=key, reverse=relation in ("right", "below"))
