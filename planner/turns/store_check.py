"""Whether a node has the planner's store: what its worker wrote there when it started must be readable here.

A node without it is not unfit: images that travel in messages need no store. `ladle nodes` and the log warn of it, and
if it is given jobs whose images do not fit into a message, its breaker opens (`planner.turns.blame`).
"""

from __future__ import annotations

import logging

from planner.errors import StoreUnavailableError
from planner.state.cluster import LiveNode
from planner.store import Store

logger = logging.getLogger(__name__)

CHECK_AGAIN_S = 30.0
"""So that a file system that is mounted late is noticed, and a store is not asked with every report."""
UNWRITABLE = "its worker cannot write to its LADLE_STORE_URL: images larger than LADLE_MESSAGE_LIMIT_MIB will fail"
NOT_SHARED = (
    "its LADLE_STORE_URL is not the planner's store: images larger than LADLE_MESSAGE_LIMIT_MIB will fail; "
    "set the same on both, and start what was changed again"
)


def check_store(store: Store, node: LiveNode, now: float) -> None:
    """Note in `node.store_note` what is wrong; a node that was found right is not looked at again before a restart.

    A store that does not work says nothing about the node.
    """
    report = node.report
    if report.wrote_token is None or report.instance == node.store_checked or now < node.store_check_at:
        return
    node.store_check_at = now + CHECK_AGAIN_S
    try:
        is_shared = report.wrote_token and store.is_shared_with(node.name, report.instance)
    except StoreUnavailableError as exc:
        logger.warning("whether node %s has the same store is not known: %s", node.name, exc)
        return
    note = "" if is_shared else NOT_SHARED if report.wrote_token else UNWRITABLE
    if note and note != node.store_note:
        logger.warning("node %s: %s", node.name, note)
    node.store_note = note
    if is_shared:
        node.store_checked = report.instance
