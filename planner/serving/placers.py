"""Makes the placer that `LADLE_PLACER` names: the learned policy, a rule, or a class of another package."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from broker_config.errors import ConfigurationError
from broker_config.settings import PLACER_GROUP, Settings
from planner.serving.served_policy import ServedPolicy
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import RULES, make_rule

LEARNED = "lad-ts"


def make_placer(settings: Settings) -> Placer:
    """Return a new placer.

    Raises:
        ConfigurationError: it is from another package and cannot be imported, cannot be made, or is not a `Placer`.
    """
    if settings.placer == LEARNED:
        folder = Path(settings.policy) if settings.policy else None
        return ServedPolicy(folder, exploration=settings.exploration, ageing=settings.joint_ageing)
    if settings.placer in RULES:
        return make_rule(settings.placer, settings.joint_ageing)
    return _checked(settings.placer, _load(settings.placer))


def check_placer(settings: Settings) -> None:
    """Say now, in the process at the terminal, what would keep a planner with these settings from starting.

    A learned policy is not loaded: without it a planner starts, falls back, and logs why.

    Raises:
        ConfigurationError: as `make_placer`.
    """
    if settings.placer != LEARNED:
        make_placer(settings)


def _load(name: str) -> Any:
    """Import what `name` stands for: `package.module:Class`, or an entry point of the group `ladle.placers`."""
    registered = entry_points(group=PLACER_GROUP, name=name)
    entry = next(iter(registered), EntryPoint(name=name, value=name, group=PLACER_GROUP))
    try:
        return entry.load()
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"LADLE_PLACER: cannot import {entry.value!r} ({exc}): install its package, or put its folder on PYTHONPATH"
        ) from exc


def _checked(name: str, make: Any) -> Placer:
    try:
        placer = make()
    except TypeError as exc:
        raise ConfigurationError(f"LADLE_PLACER: {name!r} cannot be called without arguments: {exc}") from exc
    lacking = [part for part in ("name", "policy_version", "place") if getattr(placer, part, "") == ""]
    if lacking:
        raise ConfigurationError(
            f"LADLE_PLACER: {name!r} is not a placer, it has no {' and no '.join(lacking)}: "
            "derive it from rl_agent.placing.rules.Rule, see docs/placers.md"
        )
    made: Placer = placer
    return made
