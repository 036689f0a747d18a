"""Attempts that nodes hold, as the planner keeps them in memory."""

from __future__ import annotations

from planner.state.attempts import LiveAttempt


def an_attempt(**changes) -> LiveAttempt:
    """The first attempt of a job of one unit."""
    fields = {
        "job": "job-1",
        "number": 1,
        "node": "a",
        "model": "tiny",
        "units": 1.0,
        "images": 1,
        "predicted_s": 1.0,
        "placed_at": 0.0,
        "placer": "random",
        "policy_version": "v1",
    }
    return LiveAttempt(**{**fields, **changes})
