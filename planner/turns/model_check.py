"""Acts on models that are not the same on all nodes (`planner.state.odd_models`): bars nodes from them, and says so."""

from __future__ import annotations

import logging

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
        for model, is_barred in node.odd_models.items():
            if before.get(model) is not is_barred:
                logger.warning("node %s: %s", node.name, node.note_of_odd_model(model))
                if is_barred:
                    book.take_back_queued(turn, node, f"node {node.name} has another {model}", model=model)
        for model in before.keys() - node.odd_models.keys():
            logger.info("node %s: its files of %s are no longer in doubt", node.name, model)
        turn.save_node(node.name, node.note)
