"""The words the tiny model knows."""

from __future__ import annotations

from workers.tiny_training.vocabulary import PLURALS


def test_the_plural_of_cross_is_crosses():
    assert PLURALS["cross"] == "crosses"
    assert PLURALS["star"] == "stars"
