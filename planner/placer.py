"""Makes the placer that the settings name."""

from __future__ import annotations

from broker_config.settings import Settings
from rl_agent.placers import RULES, Placer


def make_placer(settings: Settings) -> Placer:
    """Return the placer named by `LADLE_PLACER`."""
    return RULES[settings.placer]()
