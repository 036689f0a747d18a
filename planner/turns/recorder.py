"""What nodes answer: outcomes of attempts, and messages that nobody could take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from broker_config.calls import RecordDeadLetter, attempt_in
from broker_config.messages import Failure, FailureKind, JobState, Outcome
from broker_config.refusals import refusal
from broker_config.topology import OUTCOMES_QUEUE, node_key
from planner.errors import ImagesRefusedError
from planner.state.attempts import LiveAttempt
from planner.state.jobs import LiveJob
from planner.store import Store
from planner.turns.book import Book
from planner.turns.core import Planner
from planner.turns.dead_letters import letter_of_outcome, letter_row
from planner.turns.drawing import Drawing
from planner.turns.turn import Turn

logger = logging.getLogger(__name__)

NO_REASON = Failure(kind=FailureKind.INTERNAL, message="no reason given")


def record(planner: Planner, store: Store, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Close the attempts of `outcomes` and their jobs; late and repeated ones are fenced."""
    with planner.turn() as turn:
        for raw in outcomes:
            try:
                outcome = Outcome(**raw)
            except ValidationError as exc:
                reason = f"malformed outcome: {refusal(exc)}"
                logger.error("dead letter from %s: %s", OUTCOMES_QUEUE.name, reason)
                turn.bury(letter_row(letter_of_outcome(raw, reason), turn.now))
                continue
            _record_one(planner, store, turn, outcome)


def record_dead_letters(planner: Planner, letters: Sequence[RecordDeadLetter]) -> None:
    """Keep messages nobody could take, and fail the attempts whose assignments are among them."""
    with planner.turn() as turn:
        for letter in letters:
            logger.error("dead letter from %s: %s", letter.queue, letter.reason)
            turn.bury(letter_row(letter, turn.now))
            _fail_dead_assignment(planner, turn, letter)


def _record_one(planner: Planner, store: Store, turn: Turn, outcome: Outcome) -> None:
    book, key = planner.book, (outcome.job, outcome.attempt)
    node, job = book.cluster.nodes.get(outcome.node), book.jobs.get(outcome.job)
    attempt = node.remove(key, turn.now) if node else None
    if node is not None and node.is_unheard:
        node.is_unheard = False
        turn.save_node(node.name, node.note)
        logger.info("node %s: its results arrive again", node.name)
    if node is None or attempt is None:
        if not turn.has_done(key) and not planner.ledger.is_recorded(turn.connection, *key):
            _fence(store, turn, outcome)
        return
    held_up_s = book.cluster.held_up_s(node, attempt, outcome.timings.total_s, turn.now)
    if outcome.resident:
        node.report = node.report.model_copy(update={"resident": outcome.resident})
    if outcome.result == "done":
        book.learn(turn, node, attempt, outcome.timings, outcome.adapters_load_s)
    else:
        node.said.excuse(attempt.begins_at, turn.now)
    if attempt.withdrawn or job is None:
        _fence(store, turn, outcome)
    elif outcome.result == "done":
        _record_done(book, store, turn, job, attempt, outcome, held_up_s)
    elif outcome.result == "failed":
        book.fail(turn, job, attempt, outcome.failure or NO_REASON)
    else:
        book.give_back(turn, job, attempt, outcome.result)


def _fence(store: Store, turn: Turn, outcome: Outcome) -> None:
    """Refuse the outcome of an attempt that is closed: log it, keep nothing of it."""
    if outcome.result == "done":
        turn.fence()
        logger.warning("fenced: late result of job %s attempt %d from %s", outcome.job, outcome.attempt, outcome.node)
        store.discard(outcome)


def _record_done(
    book: Book, store: Store, turn: Turn, job: LiveJob, attempt: LiveAttempt, outcome: Outcome, held_up_s: float
) -> None:
    """Check and store the images, finish the job, log."""
    try:
        stored = store.keep(outcome, job.request.n)
    except ImagesRefusedError as exc:
        book.fail(turn, job, attempt, Failure(kind=FailureKind.INTERNAL, message=exc.reason))
        return
    drawing = Drawing.of(outcome, attempt, stored, turn.now - job.created_at, held_up_s)
    began_at = turn.now - drawing.delays.transfer_out_s
    turn.trace("transfer out", job, began_at, {"ladle.node": attempt.node})
    turn.close_attempt(attempt, "done", delays=drawing.delays)
    book.finish(turn, job, JobState.DONE, drawing=drawing)
    delays = drawing.delays
    logger.info(
        "job %s DONE ingress=%s node=%s attempts=%d transfer_in=%.3fs waiting=%.3fs load=%.3fs generation=%.3fs "
        "transfer_out=%.3fs placer=%s policy=%s",
        job.id,
        job.ingress,
        job.node,
        job.attempts,
        delays.transfer_in_s,
        delays.waiting_s,
        delays.load_s,
        delays.generation_s,
        delays.transfer_out_s,
        attempt.placer,
        attempt.policy_version,
        extra={
            "job": job.id,
            "state": job.state,
            "ingress": job.ingress,
            "node": job.node,
            "model": drawing.model,
            "attempts": job.attempts,
            "placer": attempt.placer,
            "policy": attempt.policy_version,
            **delays.model_dump(),
        },
    )


def _fail_dead_assignment(planner: Planner, turn: Turn, letter: RecordDeadLetter) -> None:
    """Fail the attempt that a dead-lettered assignment stood for, so that its job is not lost with it."""
    key = attempt_in(letter.headers)
    node = planner.book.cluster.nodes.get(_origin_of(letter))  # burying another node's assignment has no effect
    attempt = node.remove(key, turn.now) if node else None
    job = planner.book.jobs.get(key[0])
    if node is not None and attempt is not None:
        node.said.excuse(attempt.begins_at, turn.now)
    if attempt is not None and job is not None and not attempt.withdrawn:
        failure = Failure(kind=FailureKind.WORKER_DIED, message=letter.reason or "dead-lettered")
        planner.book.fail(turn, job, attempt, failure)


def _origin_of(letter: RecordDeadLetter) -> str:
    """Return the node whose queue a dead letter was in: its worker buried it, or the broker dead-lettered it there."""
    names = (letter.queue, letter.routing_key)
    return next((name.removeprefix(node_key("")) for name in names if name.startswith(node_key(""))), "")
