"""Acts on models that are not the same on all nodes (`planner.state.odd_models`): bars nodes from them, and says so."""

from __future__ import annotations

import logging
from functools import partial

from planner.state.cluster import few
from planner.state.jobs import LiveJob
from planner.state.odd_models import odd_models
from planner.turns.book import Book
from planner.turns.turn import Turn

logger = logging.getLogger(__name__)


def check_models(book: Book, turn: Turn) -> None:
    """Compare what the nodes report of their models by now."""
    found = odd_models(book.cluster.nodes.values())
    for node in book.cluster.nodes.values():
        before, node.odd_models = node.odd_models, found.get(node.name, {})
        if node.odd_models == before:
            continue
        for model in {attempt.model for attempt in node.attempts.values()}:
            if node.odd_models.get(model, False):
                why = f"node {node.name} has another {model}"
                book.take_back_queued(turn, node, why, only=partial(_draws_with, model))
        if node.odd_models:
            logger.warning("node %s: %s", node.name, node.odd_note)
        else:
            logger.info("node %s: its files of %s are no longer in doubt", node.name, few(list(before)))
        turn.save_node(node.name, node.note)


def _draws_with(model: str, job: LiveJob) -> bool:
    return job.needs.model == model
