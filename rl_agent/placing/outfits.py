"""A model with its adapters, as one name: speeds and load times are known by it, as by a model's own name."""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = " + "  # a folder may be named so as well; then predictions of it are borrowed from another, and no more


def outfit_of(model: str, adapters: Iterable[str] = ()) -> str:
    """Return the name of a model with adapters; without any, the model's own."""
    return SEPARATOR.join((model, *sorted(adapters)))


def model_of(outfit: str) -> str:
    """Return the model's own name."""
    return outfit.partition(SEPARATOR)[0]


def has_adapters(outfit: str) -> bool:
    """Whether this is a model with adapters."""
    return SEPARATOR in outfit
