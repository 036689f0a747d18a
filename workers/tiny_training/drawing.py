"""Draws a `Picture` at four times its size and reduces it, so that edges are smooth; about 0.4 ms at 64 px."""

from __future__ import annotations

import math
import random
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.tiny_training.scenes import Item, Picture
from workers.tiny_training.vocabulary import BACKGROUNDS, COLOURS, SHAPES

SUPERSAMPLING = 4  # each way: an edge pixel has one of 17 mixtures of two colours
CELL_PX = 8
"""Side of the cell that one image token of the transformer stands for."""

COLOUR_IDS = {name: index for index, name in enumerate(BACKGROUNDS)}
SHAPE_IDS = {name: index + 1 for index, name in enumerate(SHAPES)}
"""0 means background."""

UNLABELLED = -1  # no index of a colour or shape; the label loss ignores it
TINT = 6
"""Largest change of a colour channel from picture to picture."""

Point = tuple[float, float]
RGB = tuple[int, int, int]
Labels = NDArray[np.int8]


@cache
def outline(shape: str) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Return a shape's outline in the unit circle (y downwards) and the outline of the hole in it, if it has one."""
    if shape in ("circle", "ring"):
        hole = _arc(0.5, 40) if shape == "ring" else ()
        return _arc(1.0, 60), hole
    if shape == "square":
        return ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)), ()
    if shape == "triangle":
        return ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)), ()
    if shape == "diamond":
        return ((0.0, -1.1), (0.75, 0.0), (0.0, 1.1), (-0.75, 0.0)), ()
    if shape == "star":
        radii = (1.1, 0.44) * 5
        angles = [math.pi * (index / 5 - 0.5) for index in range(10)]
        return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)), ()
    if shape == "cross":
        w = 0.33
        quarter = [(w, -1.0), (w, -w), (1.0, -w), (1.0, w), (w, w), (w, 1.0)]
        return (*quarter, *[(-x, -y) for x, y in quarter]), ()
    if shape == "heart":
        turns = [2 * math.pi * index / 60 for index in range(60)]
        return tuple(
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16 + 0.05,
            )
            for t in turns
        ), ()
    raise KeyError(shape)


def _arc(radius: float, points: int) -> tuple[Point, ...]:
    turns = (2 * math.pi * index / points for index in range(points))
    return tuple((radius * math.cos(t), radius * math.sin(t)) for t in turns)


def shape_mask(shape: str, x: float, y: float, radius: float, side: int) -> Image.Image:
    """Return the hard mask ("L", 0 or 255) of a shape with centre and radius in pixels of the `side` x `side` mask."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    outer, hole = outline(shape)
    draw.polygon([(x + radius * u, y + radius * v) for u, v in outer], fill=255)
    if hole:
        draw.polygon([(x + radius * u, y + radius * v) for u, v in hole], fill=0)
    return mask


def draw(picture: Picture, size_px: int, rng: random.Random) -> tuple[Image.Image, Labels]:
    """Draw a picture.

    Args:
        picture: what to draw.
        size_px: side of the square image; a multiple of `CELL_PX`.
        rng: source of the small tints, and of where the stars of a night sky stand.

    Returns:
        The RGB image, and labels of shape (2, size_px / 8, size_px / 8): per cell the colour (`COLOUR_IDS`) and the
        shape (`SHAPE_IDS`) seen there, `UNLABELLED` in pictures that are not made of items.
    """
    side = size_px * SUPERSAMPLING
    cells = size_px // CELL_PX
    if picture.kind in ("stripes", "scene"):
        canvas = Image.new("RGB", (side, side))
        _Painter(ImageDraw.Draw(canvas), side, rng).paint(picture)
        return canvas.reduce(SUPERSAMPLING), np.full((2, cells, cells), UNLABELLED, np.int8)
    image = Image.new("RGB", (size_px, size_px), _tinted(rng, picture.background))
    labels = np.zeros((2, cells, cells), np.int8)
    labels[0] = COLOUR_IDS[picture.background]
    for item in picture.items:
        mask = _item_mask(item, side)
        image.paste(_tinted(rng, item.colour), mask=mask.reduce(SUPERSAMPLING))
        covered = np.asarray(mask.reduce(SUPERSAMPLING * CELL_PX)) > 255 * 0.3
        labels[0][covered] = COLOUR_IDS[item.colour]
        labels[1][covered] = SHAPE_IDS[item.shape]
    return image, labels


def _item_mask(item: Item, side: int) -> Image.Image:
    return shape_mask(item.shape, item.x * side, item.y * side, item.radius * side, side)


def _tinted(rng: random.Random, colour: str) -> RGB:
    red, green, blue = (min(255, max(0, c + rng.randint(-TINT, TINT))) for c in BACKGROUNDS[colour])
    return red, green, blue


class _Painter:
    """Paints stripes and scenes on a square canvas; coordinates are fractions of its side."""

    def __init__(self, canvas: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
        self._canvas = canvas
        self._side = side
        self._rng = rng

    def paint(self, picture: Picture) -> None:
        """Paint the whole canvas."""
        if picture.kind == "stripes":
            self._stripes(*picture.details)
            return
        name, colour, phrase = picture.details
        getattr(self, f"_{name}")(colour, phrase)

    def _box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        self._canvas.rectangle([c * self._side for c in (x0, y0, x1, y1)], fill=fill)

    def _disc(self, x: float, y: float, radius: float, fill: RGB) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self._canvas.ellipse([c * self._side for c in box], fill=fill)

    def _polygon(self, fill: RGB, *points: Point) -> None:
        self._canvas.polygon([(x * self._side, y * self._side) for x, y in points], fill=fill)

    def _stripes(self, first: str, second: str, direction: str) -> None:
        colours = (_tinted(self._rng, first), _tinted(self._rng, second))
        for band in range(4):
            low, high = band / 4, (band + 1) / 4
            box = (0.0, low, 1.0, high) if direction == "horizontal" else (low, 0.0, high, 1.0)
            self._box(*box, fill=colours[band % 2])

    def _sky_and(self, sky: RGB, ground: RGB, horizon: float) -> None:
        self._box(0, 0, 1, horizon, sky)
        self._box(0, horizon, 1, 1, ground)

    def _sea(self, colour: str, phrase: str) -> None:
        self._sky_and((170, 215, 245), (30, 90, 170), 0.6)
        self._disc(0.5 + self._shift(), 0.33, 0.17, COLOURS[colour or "yellow"])

    def _house(self, colour: str, phrase: str) -> None:
        sky = (90, 150, 235) if "sky" in phrase else (190, 225, 245)
        self._sky_and(sky, (90, 175, 85), 0.78)
        x = 0.5 + self._shift()
        self._box(x - 0.25, 0.45, x + 0.25, 0.85, (240, 225, 190))
        self._polygon(COLOURS[colour or "red"], (x - 0.32, 0.46), (x, 0.15), (x + 0.32, 0.46))
        self._box(x - 0.06, 0.62, x + 0.06, 0.85, (120, 75, 45))

    def _night(self, colour: str, phrase: str) -> None:
        self._box(0, 0, 1, 1, (18, 22, 60))
        for _ in range(14):
            self._disc(self._rng.uniform(0.04, 0.96), self._rng.uniform(0.04, 0.96), 0.018, (250, 245, 200))
        if "moon" in phrase:
            self._disc(0.7, 0.28, 0.13, (250, 245, 215))

    def _boat(self, colour: str, phrase: str) -> None:
        self._sky_and((180, 220, 245), (35, 100, 180), 0.65)
        x = 0.5 + self._shift()
        hull = ((x - 0.3, 0.58), (x + 0.3, 0.58), (x + 0.2, 0.74), (x - 0.2, 0.74))
        self._polygon(COLOURS[colour or "red"], *hull)
        self._polygon((250, 250, 250), (x, 0.14), (x, 0.54), (x + 0.26, 0.54))

    def _flower(self, colour: str, phrase: str) -> None:
        if "grass" in phrase:
            self._sky_and((190, 225, 245), (90, 175, 85), 0.7)
        else:
            self._box(0, 0, 1, 1, (215, 235, 245))
        x = 0.5 + self._shift()
        self._box(x - 0.025, 0.4, x + 0.025, 0.95, (40, 130, 55))
        for turn in range(6):
            angle = turn * math.pi / 3
            petal = (x + 0.15 * math.cos(angle), 0.36 + 0.15 * math.sin(angle))
            self._disc(*petal, 0.1, COLOURS[colour or "red"])
        self._disc(x, 0.36, 0.09, (250, 200, 40) if colour != "yellow" else (150, 90, 40))

    def _tree(self, colour: str, phrase: str) -> None:
        self._sky_and((190, 225, 245), (120, 190, 95), 0.8)
        x = 0.5 + self._shift()
        self._box(x - 0.05, 0.5, x + 0.05, 0.86, (120, 75, 45))
        self._disc(x, 0.35, 0.24, COLOURS[colour or "green"])

    def _shift(self) -> float:
        return self._rng.uniform(-0.03, 0.03)
