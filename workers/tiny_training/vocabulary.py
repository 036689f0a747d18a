"""The words the tiny model knows: colours, shapes, sizes, places, numbers, and what joins them."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 50),
    "green": (50, 165, 70),
    "cyan": (60, 200, 215),
    "blue": (45, 85, 205),
    "purple": (130, 60, 170),
    "pink": (245, 150, 190),
    "white": (250, 250, 250),
    "black": (25, 25, 25),
}
"""What an object may be painted in, as RGB of 0..255."""

PLAIN = "gray"
"""The background of a prompt that names none."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {**COLOURS, PLAIN: (165, 165, 165)}
"""What a background may be painted in."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
"""The shapes, each understood in the plural too."""

PLURALS = {shape: shape + ("es" if shape.endswith("ss") else "s") for shape in SHAPES}

SIZES: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "medium": ("",), "large": ("large", "big")}
"""A size and the words for it; medium is what no word means."""

PLACES: dict[str, tuple[str, ...]] = {
    "center": ("", "", "in the center", "in the middle"),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "top left": ("in the top left corner", "at the top left"),
    "top right": ("in the top right corner", "at the top right"),
    "bottom left": ("in the bottom left corner", "at the bottom left"),
    "bottom right": ("in the bottom right corner", "at the bottom right"),
}
"""A place and the phrases for it; the centre is what no phrase means."""

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of", "on the left of", "and", "next to", "beside"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under"),
}
"""Where the first of two objects lies from the second; "and" reads from left to right."""

NUMBERS: dict[int, tuple[str, ...]] = {
    2: ("two", "2"),
    3: ("three", "3"),
    4: ("four", "4"),
    5: ("five", "5"),
    6: ("six", "6"),
}
"""How many objects of one kind one picture may show, and the words for it."""

OPENINGS = ("", "", "", "", "", "", "", "a picture of", "a drawing of", "a photo of")
"""What a prompt may begin with; it means nothing."""

SCENES: dict[str, tuple[str, ...]] = {
    "sea": ("the sun over the sea", "a {colour} sun over the sea"),
    "house": ("a house", "a house with a {colour} roof", "a house with a {colour} roof under a blue sky"),
    "night": ("a night sky with stars", "a night sky with stars and a moon"),
    "boat": ("a boat on the sea", "a {colour} boat on the sea"),
    "flower": ("a flower", "a {colour} flower", "a {colour} flower in the grass"),
    "tree": ("a tree", "a tree with {colour} leaves"),
}
"""Whole pictures with the phrases for them."""

STRIPES = ("horizontal", "vertical")

MAX_WORDS = 18
"""What fits between the two markers of a text of `MAX_TOKENS` tokens, a word being one token."""

MAX_TOKENS = 20  # `MAX_WORDS` and the two markers; CLIP's 77 would cost attention and hold nothing


def words() -> tuple[str, ...]:
    """Return every word that some training caption uses, sorted."""
    phrases = ["a an the", "on with background", "and stripes", *STRIPES, *OPENINGS, *BACKGROUNDS, *SHAPES]
    for table in (SIZES, PLACES, RELATIONS, NUMBERS, SCENES):
        phrases.extend(phrase for alternatives in table.values() for phrase in alternatives)
    phrases.extend(PLURALS.values())
    return tuple(sorted({word for phrase in phrases for word in phrase.split() if word != "{colour}"}))
