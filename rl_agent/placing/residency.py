"""Which models a node keeps in memory: the most recently used ones, up to its limit."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Model = TypeVar("Model", bound=Hashable)


def resident_after(resident: Iterable[Model], models: Iterable[Model], limit: int) -> tuple[Model, ...]:
    """Return what is resident after attempts that need `models`, in this order; least recently used first.

    Args:
        resident: what is in memory now, least recently used first.
        models: model of each attempt, in the order they will run.
        limit: how many models fit.
    """
    kept = list(resident)
    for model in models:
        if model in kept:
            kept.remove(model)
        kept.append(model)
        del kept[: max(len(kept) - limit, 0)]
    return tuple(kept)
