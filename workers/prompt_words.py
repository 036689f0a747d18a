"""Splits a prompt into words, to tell which of them a small model has never seen."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def unknown_words(prompt: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the words of a prompt that are not among the known ones: lower case, in order, each once."""
    words = dict.fromkeys(WORD.findall(prompt.lower()))
    return tuple(word for word in words if word not in known)
