"""LAD-TS: discrete soft actor-critic whose actor denoises a latent action.

What is exported here is imported when it is asked for: `rl_agent.ladts.numpy_chain` serves policies without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_agent.ladts.ladts import LADTS
    from rl_agent.ladts.policies import D2SACPolicy, LADTSPolicy, SACTSPolicy

__all__ = ["D2SACPolicy", "LADTS", "LADTSPolicy", "SACTSPolicy"]  # noqa: RUF022  # as `sorted` has them


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'ladts' if name == 'LADTS' else 'policies'}"), name)
