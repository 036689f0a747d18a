"""How much one round of retraining may do, at which priority, and how it reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NICENESS = 15
"""Of a process that retrains: generation of images on the same machine comes first (19 is the lowest priority)."""
ProgressCallback = Callable[[str, float], None]
"""Called with what is being done and the share that is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class RetrainingPlan:
    """How much one round may do.

    Attributes:
        trials: perturbed policies that the search tries at most.
        decisions: made in the twin at most.
        seconds: of the whole round at most, reading, fitting and the gate included.
        round_decisions: between two validations, each with a checkpoint.
        newest: logged decisions read at most.
        episode_jobs: length of an episode in the twin.
        episodes: drawn for learning. searched: drawn for the search.
        validations: scenarios that choose among the policies found, from the arrivals that are not held out.
        held_out: jobs played at the gate at most. repeats: how often, half of the times with throttling.
        seed: of everything drawn.
    """

    trials: int = 400
    decisions: int = 12_000
    seconds: float = 240.0
    round_decisions: int = 2_000
    newest: int = 10_000
    episode_jobs: int = 120
    episodes: int = 24
    searched: int = 10
    validations: int = 6
    held_out: int = 1_000
    repeats: int = 6
    seed: int = 0
