"""The planner's part of a job's trace: how long it waited, the way out of its images, its end."""

from __future__ import annotations

from broker_config.tracing import record_span
from planner.turns.turn import Turn


def record_spans(turn: Turn) -> None:
    """Record the spans of a committed turn."""
    for span in turn.spans:
        record_span(span.name, span.attributes, parent=span.parent, began_at=span.began_at, ended_at=span.ended_at)
