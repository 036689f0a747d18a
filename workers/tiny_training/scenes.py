"""What a picture shows, said twice: as items with colours and places, and as the caption for it.

A rule decides nearly everything that the caption leaves open (no place means the centre, no background means gray),
so that a caption has one right picture up to a small jitter. Drawing is in `drawing.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from workers.tiny_training.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    MAX_WORDS,
    NUMBERS,
    OPENINGS,
    PLACES,
    PLAIN,
    PLURALS,
    RELATIONS,
    SCENES,
    SHAPES,
    SIZES,
    STRIPES,
)

Kind = str
"""One of "single", "pair", "count", "stripes" and "scene"."""

Combination = tuple[str, str]
"""A colour and a shape."""

COMBINATIONS: tuple[Combination, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

HELD_OUT: frozenset[Combination] = frozenset(
    {
        ("red", "star"),
        ("orange", "ring"),
        ("yellow", "heart"),
        ("green", "cross"),
        ("cyan", "triangle"),
        ("blue", "diamond"),
        ("purple", "square"),
        ("pink", "circle"),
        ("white", "star"),
        ("black", "heart"),
        ("green", "triangle"),
        ("blue", "circle"),
    }
)
"""Colour-shape pairs that no training picture shows: the model must put them together by itself."""

TRAINING: tuple[Combination, ...] = tuple(pair for pair in COMBINATIONS if pair not in HELD_OUT)

KIND_WEIGHTS: dict[Kind, float] = {"single": 0.36, "pair": 0.34, "count": 0.20, "stripes": 0.03, "scene": 0.07}
"""How often each kind is drawn: mostly the three that put colours and shapes together, and that the judge measures."""

RADII = {"small": 0.13, "medium": 0.20, "large": 0.28}  # of the side, as all below; a large object fits at any place
PAIR_RADII = {"small": 0.12, "medium": 0.18, "large": 0.22}  # two fit side by side, centres 0.48 apart
COUNT_RADII = {2: 0.18, 3: 0.16, 4: 0.16, 5: 0.13, 6: 0.12}  # the more, the smaller: they fit at `COUNT_PLACES`
COUNT_PLACES: dict[int, tuple[tuple[float, float], ...]] = {  # as on a die; three stand in a triangle
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.26, 0.7), (0.74, 0.7)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
    5: ((0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)),
    6: ((0.18, 0.3), (0.5, 0.3), (0.82, 0.3), (0.18, 0.7), (0.5, 0.7), (0.82, 0.7)),
}
JITTER = 0.025
"""Half-width of the uniform shift of every item, as a fraction of the picture."""

MIN_CONTRAST = 95.0
"""Least Euclidean RGB distance of an object from its background; yellow on orange is left out, for example."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One object: colour and shape by name, centre and radius as fractions of the picture's side."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture to draw, learn from, or judge.

    `details` holds what is not an item: for stripes the two colours and the direction, for a scene its name and colour,
    for a single object its place, for a pair the relation of the first item to the second.
    """

    kind: Kind
    caption: str
    background: str
    items: tuple[Item, ...] = ()
    details: tuple[str, ...] = ()


def contrast(first: str, second: str) -> float:
    """Return the Euclidean distance of two named colours in RGB."""
    pairs = zip(BACKGROUNDS[first], BACKGROUNDS[second], strict=True)
    return float(sum((a - b) ** 2 for a, b in pairs) ** 0.5)


def sample(
    rng: random.Random,
    kind: Kind | None = None,
    first: tuple[Combination, ...] = TRAINING,
    second: tuple[Combination, ...] = TRAINING,
) -> Picture:
    """Draw one picture at random.

    Args:
        rng: the only source of chance.
        kind: what to draw; by `KIND_WEIGHTS` when None.
        first: combinations for the first (or only) sort of object.
        second: combinations for the other object of a pair.
    """
    kind = kind or rng.choices(list(KIND_WEIGHTS), weights=list(KIND_WEIGHTS.values()))[0]
    if kind == "single":
        return _single(rng, rng.choice(first))
    if kind == "pair":
        pair = [rng.choice(first), rng.choice(second)]
        rng.shuffle(pair)
        return _pair(rng, pair[0], pair[1])
    if kind == "count":
        return _count(rng, rng.choice(first))
    if kind == "stripes":
        return _stripes(rng)
    return _scene(rng)


def _background(rng: random.Random, objects: tuple[str, ...]) -> tuple[str, str]:
    """Choose a background that every object stands out from; return it with its phrase."""
    if rng.random() < 0.35 and all(contrast(PLAIN, colour) >= MIN_CONTRAST for colour in objects):
        return PLAIN, ""
    fitting = [name for name in BACKGROUNDS if all(contrast(name, colour) >= MIN_CONTRAST for colour in objects)]
    name = rng.choice(fitting)
    return name, rng.choice(("on a {} background", "on a {} background", "with a {} background")).format(name)


def _caption(rng: random.Random, *parts: str) -> str:
    words = " ".join(part for part in parts if part).split()
    opening = rng.choice(OPENINGS).split()
    if len(opening) + len(words) <= MAX_WORDS:
        words = opening + words
    return " ".join("an" if (word, after) == ("a", "orange") else word for word, after in pairwise([*words, ""]))


def _jitter(rng: random.Random) -> float:
    return rng.uniform(-JITTER, JITTER)


def _noun(rng: random.Random, size: str, combination: Combination) -> str:
    words = (rng.choice(SIZES[size]), *combination)
    return " ".join(word for word in (rng.choice(("a", "a", "a", "the")), *words) if word)


def _single(rng: random.Random, combination: Combination) -> Picture:
    size = rng.choices(list(RADII), weights=(0.3, 0.4, 0.3))[0]
    place = "center" if rng.random() < 0.4 else rng.choice(list(PLACES))
    radius = RADII[size] * rng.uniform(0.95, 1.05)
    near = max(0.26, radius + 0.04)
    x = near if "left" in place else 1 - near if "right" in place else 0.5
    y = near if "top" in place else 1 - near if "bottom" in place else 0.5
    background, phrase = _background(rng, combination[:1])
    item = Item(colour=combination[0], shape=combination[1], x=x + _jitter(rng), y=y + _jitter(rng), radius=radius)
    caption = _caption(rng, _noun(rng, size, combination), rng.choice(PLACES[place]), phrase)
    return Picture(kind="single", caption=caption, background=background, items=(item,), details=(place,))


def _pair(rng: random.Random, first: Combination, second: Combination) -> Picture:
    relation = rng.choices(list(RELATIONS), weights=(0.4, 0.2, 0.2, 0.2))[0]
    low, high = (0.26, 0.5), (0.74, 0.5)
    if relation in ("above", "below"):
        low, high = (0.5, 0.26), (0.5, 0.74)
    places = (low, high) if relation in ("left", "above") else (high, low)
    items, nouns = [], []
    sized = rng.random() < 0.25
    for combination, (x, y) in zip((first, second), places, strict=True):
        size = rng.choice(list(PAIR_RADII)) if sized else "medium"
        radius = PAIR_RADII[size] * rng.uniform(0.95, 1.05)
        nouns.append(_noun(rng, size, combination))
        items.append(
            Item(colour=combination[0], shape=combination[1], x=x + _jitter(rng), y=y + _jitter(rng), radius=radius)
        )
    background, phrase = _background(rng, (first[0], second[0]))
    caption = _caption(rng, nouns[0], rng.choice(RELATIONS[relation]), nouns[1], phrase)
    return Picture(kind="pair", caption=caption, background=background, items=tuple(items), details=(relation,))


def _count(rng: random.Random, combination: Combination) -> Picture:
    number = rng.choice(list(NUMBERS))
    size = "small" if rng.random() < 0.15 else "medium"
    radius = COUNT_RADII[number] * (0.75 if size == "small" else 1.0) * rng.uniform(0.95, 1.05)
    background, phrase = _background(rng, combination[:1])
    items = tuple(
        Item(colour=combination[0], shape=combination[1], x=x + _jitter(rng), y=y + _jitter(rng), radius=radius)
        for x, y in COUNT_PLACES[number]
    )
    words = (rng.choice(NUMBERS[number]), rng.choice(SIZES[size]), combination[0], PLURALS[combination[1]])
    caption = _caption(rng, *words, phrase)
    return Picture(kind="count", caption=caption, background=background, items=items)


def _stripes(rng: random.Random) -> Picture:
    direction = rng.choice(STRIPES)
    first = rng.choice(list(COLOURS))
    second = rng.choice([name for name in COLOURS if contrast(first, name) >= MIN_CONTRAST])
    caption = _caption(rng, direction, first, "and", second, "stripes")
    return Picture(kind="stripes", caption=caption, background=first, details=(first, second, direction))


def _scene(rng: random.Random) -> Picture:
    name = rng.choice(list(SCENES))
    phrase = rng.choice(SCENES[name])
    colour = rng.choice(list(COLOURS)) if "{colour}" in phrase else ""
    caption = _caption(rng, phrase.format(colour=colour))
    return Picture(kind="scene", caption=caption, background=PLAIN, details=(name, colour, phrase))
