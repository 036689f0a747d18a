"""What nodes answer: outcomes of attempts, and messages that nobody could take."""

from __future__ import annotations

import binascii
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from broker_config.messages import (
    Delays,
    EventKind,
    Failure,
    FailureKind,
    JobState,
    Outcome,
    refusal,
)
from broker_config.topology import OUTCOMES_QUEUE, node_key
from planner.state.cluster import LiveAttempt, Node
from planner.state.drift_alarm import watch_drift
from planner.state.jobs import LiveJob
from planner.store import PNG_SIGNATURE, Store
from planner.turns.core import Planner, node_row
from planner.turns.dead_letters import letter_of_outcome, letter_row
from planner.turns.turn import GENERATE_TASK, Turn, attempt_of

logger = logging.getLogger(__name__)


def record(planner: Planner, store: Store, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Close the attempts of `outcomes` and their jobs; late and repeated ones are fenced."""
    with planner.turn() as turn:
        for raw in outcomes:
            try:
                outcome = Outcome(**raw)
            except ValidationError as exc:
                reason = f"malformed outcome: {refusal(exc)}"
                logger.error("dead letter from %s: %s", OUTCOMES_QUEUE.name, reason)
                turn.dead_letters.append(letter_row(letter_of_outcome(raw, reason), turn.now))
                continue
            _record_one(planner, store, turn, outcome)


def record_dead_letters(planner: Planner, letters: Sequence[Mapping[str, Any]]) -> None:
    """Keep messages nobody could take, and fail the attempts whose assignments are among them."""
    with planner.turn() as turn:
        for letter in letters:
            logger.error("dead letter from %s: %s", letter.get("queue"), letter.get("reason"))
            turn.dead_letters.append(letter_row(letter, turn.now))
            _fail_dead_assignment(planner, turn, letter)


def _record_one(planner: Planner, store: Store, turn: Turn, outcome: Outcome) -> None:
    node = planner.cluster.nodes.get(outcome.node)
    attempt = node.attempts.get((outcome.job, outcome.attempt)) if node else None
    job = planner.jobs.get(outcome.job)
    if node is None or attempt is None:
        key = outcome.job, outcome.attempt
        if key not in turn.recorded and not planner.ledger.is_recorded(turn.connection, *key):
            _fence(store, outcome)
        return
    node.remove(attempt.key, turn.now)
    if outcome.resident:
        node.report = node.report.model_copy(update={"resident": outcome.resident})
    _learn(planner, turn, node, attempt, outcome)
    if attempt.withdrawn or job is None:
        _fence(store, outcome)
    elif outcome.result == "done":
        _finish_done(planner, store, turn, job, node, attempt, outcome)
    elif outcome.result == "failed":
        failure = outcome.failure or Failure(kind=FailureKind.INTERNAL, message="no reason given")
        _fail(planner, turn, job, attempt, failure)
    else:
        turn.close_attempt(attempt, outcome.result)
        planner.take_back(turn, job, f"node {node.name} gave it back", failed=None)


def _fence(store: Store, outcome: Outcome) -> None:
    """Refuse the outcome of an attempt that is closed: log it, keep nothing of it."""
    if outcome.result == "done":
        logger.warning("fenced: late result of job %s attempt %d from %s", outcome.job, outcome.attempt, outcome.node)
        for image in outcome.images:
            if store.holds_of(image, outcome.job, outcome.attempt):
                store.delete(image)


def _learn(planner: Planner, turn: Turn, node: Node, attempt: LiveAttempt, outcome: Outcome) -> None:
    if outcome.result == "done":
        estimate = planner.cluster.estimates.of(node.name, attempt.model)
        if watch_drift(node, attempt, outcome.timings.generation_s, estimate, turn.now):
            turn.nodes[node.name] = node_row(node, turn.now, node.report.reason)
        planner.cluster.estimates.observe_outcome(
            outcome.node,
            attempt.model,
            units=attempt.units,
            generation_s=outcome.timings.generation_s,
            load_s=outcome.timings.load_s,
        )
        turn.learned.add((outcome.node, attempt.model))


def _fail(planner: Planner, turn: Turn, job: LiveJob, attempt: LiveAttempt, failure: Failure) -> None:
    turn.close_attempt(attempt, "failed", failure)
    if failure.kind is FailureKind.BAD_REQUEST:
        planner.finish(turn, job, JobState.FAILED, failure=failure)
    else:
        planner.take_back(turn, job, f"{failure.kind} on {job.node}: {failure.message}", failed=failure.kind)


def _finish_done(
    planner: Planner, store: Store, turn: Turn, job: LiveJob, node: Node, attempt: LiveAttempt, outcome: Outcome
) -> None:
    problem = _problem_with(outcome, job.request.n, store)
    if problem is not None:
        _fail(planner, turn, job, attempt, Failure(kind=FailureKind.INTERNAL, message=problem))
        return
    images = [store.put(job.id, index, image) for index, image in enumerate(outcome.images)]
    turn.recorded.add(attempt.key)
    timings = outcome.timings
    on_node_s = timings.transfer_in_s + timings.load_s + timings.generation_s + timings.transfer_out_s
    delays = Delays(waiting_s=max(turn.now - job.created_at - on_node_s, 0.0), **timings.model_dump())
    turn.close_attempt(attempt, "done", delays=delays)
    placer, version = attempt.placer, attempt.policy_version
    planner.finish(
        turn,
        job,
        JobState.DONE,
        images=[image.to_wire() for image in images],
        warnings=list(outcome.warnings) or None,
        placer=placer,
        policy_version=version,
        **delays.model_dump(),
    )
    planner.tell(
        turn,
        job,
        EventKind.DONE,
        images=tuple(image if image.data else stored for image, stored in zip(outcome.images, images, strict=True)),
        delays=delays,
        warnings=outcome.warnings,
        model=job.request.model,
        placer=placer,
        policy_version=version,
    )
    logger.info(
        "job %s DONE ingress=%s node=%s attempts=%d transfer_in=%.3fs waiting=%.3fs load=%.3fs generation=%.3fs "
        "transfer_out=%.3fs placer=%s policy=%s",
        job.id,
        job.ingress,
        node.name,
        job.attempts,
        delays.transfer_in_s,
        delays.waiting_s,
        delays.load_s,
        delays.generation_s,
        delays.transfer_out_s,
        placer,
        version,
    )


def _problem_with(outcome: Outcome, wanted: int, store: Store) -> str | None:
    """Say what is wrong with the images of a DONE outcome, if anything."""
    if len(outcome.images) != wanted:
        return f"{len(outcome.images)} images came instead of {wanted}"
    for image in outcome.images:
        if image.data is None and image.url is None:
            return "an image came without data"
        if image.data is None:
            belongs = store.holds_of(image, outcome.job, outcome.attempt)
            reason = store.why_unreadable(image) if belongs else "not where this attempt's images go"
            if reason is not None:
                return (
                    f"the planner cannot read {image.url} ({reason}): "
                    "LADLE_STORE_URL must be one store that workers and planner share"
                )
        else:
            try:
                png = image.png()
            except binascii.Error:
                return "an image is not base64"
            if not png.startswith(PNG_SIGNATURE) or hashlib.sha256(png).hexdigest() != image.sha256:
                return "an image is not the PNG its hash names"
    return None


def _fail_dead_assignment(planner: Planner, turn: Turn, letter: Mapping[str, Any]) -> None:
    """Fail the attempt that a dead-lettered assignment stood for, so that its job is not lost with it."""
    headers = letter.get("headers")
    if not isinstance(headers, dict) or headers.get("task") != GENERATE_TASK:
        return
    key = attempt_of(str(headers.get("id")))
    node = planner.cluster.nodes.get(_origin_of(letter))  # whoever buries another node's assignment fails nothing
    attempt = node.remove(key, turn.now) if node else None
    job = planner.jobs.get(key[0])
    if attempt is not None and job is not None and not attempt.withdrawn:
        failure = Failure(kind=FailureKind.WORKER_DIED, message=str(letter.get("reason", "dead-lettered")))
        _fail(planner, turn, job, attempt, failure)


def _origin_of(letter: Mapping[str, Any]) -> str:
    """Return the node whose queue a dead letter was in: its worker buried it, or the broker dead-lettered it there."""
    names = (str(letter.get(field)) for field in ("queue", "routing_key"))
    return next((name.removeprefix(node_key("")) for name in names if name.startswith(node_key(""))), "")
