"""How much work a node still has, predicted from its unfinished attempts and their progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OVERRUN_SHARE = 0.25
"""An attempt that overruns its prediction is expected to take this share of its time so far on top."""


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """What is known of one unfinished attempt on a node.

    Attributes:
        model: which model it needs.
        predicted_s: seconds of load and generation predicted with present estimates.
        input_in_s: seconds until its input has arrived; 0 once it has.
        running_s: seconds since it began; None while it waits on the node.
    """

    model: str
    predicted_s: float
    input_in_s: float = 0.0
    running_s: float | None = None


def backlog_s(attempts: Sequence[AttemptView]) -> float:
    """Return predicted seconds until all `attempts`, in the node's order, are done."""
    total_s = 0.0
    for attempt in attempts:
        if attempt.running_s is None:
            total_s = max(total_s, attempt.input_in_s) + attempt.predicted_s
        else:
            total_s += max(attempt.predicted_s - attempt.running_s, OVERRUN_SHARE * attempt.running_s)
    return total_s
