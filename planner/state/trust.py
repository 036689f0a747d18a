"""What the planner believes of what a node reports of its jobs, and says in the log when that changes."""

from __future__ import annotations

import logging

from broker_config.bounds import MAX_PART_S
from broker_config.messages import Timings
from planner.state.attempts import LiveAttempt
from planner.state.cluster import LiveNode
from planner.state.said_times import MIN_SAID_S

logger = logging.getLogger(__name__)


def believed_generation_s(node: LiveNode, attempt: LiveAttempt, timings: Timings, now: float) -> float:
    """Return for how many seconds a done attempt is taken to have generated.

    That is what the node reports, but no more than have passed, and what the clock says where the node's word is not
    believed (`SaidTimes`).

    A load that was not due explains nothing: otherwise a node could hide its generation in there, and the next
    prediction, without a load, would miss it again.

    Args:
        node: where it ran; what it said of the attempt is held against it from now on.
        attempt: which is done.
        timings: as the node reports them.
        now: seconds on the planner's clock.
    """
    said, was_believed = node.said, node.said.factor == 1.0
    factor = said.compare(
        said_s=timings.generation_s + (timings.load_s if attempt.loads else 0.0),
        placed_at=attempt.placed_at,
        total_when_placed_s=attempt.said_before_s,
        now=now,
    )
    if was_believed and said.factor > 1.0:
        logger.warning(
            "node %s: its jobs take %.2g times as long as it reports; predictions go by the planner's clock",
            node.name,
            said.factor,
        )
    elif not was_believed and said.factor == 1.0:
        logger.info("node %s: its jobs take as long as it reports again", node.name)
    if factor == 1.0:
        return min(timings.generation_s, max(now - attempt.placed_at, 0.0))
    return min(max(timings.generation_s, MIN_SAID_S) * factor, MAX_PART_S)
