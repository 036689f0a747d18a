"""The answer to a client that asks where an open job is: its state, how far it is, how long it may still take."""

from __future__ import annotations

from broker_config.bounds import MAX_DURATION_S
from broker_config.messages import EventKind, JobState
from planner.calibration import Stage
from planner.state.eta import foretold_while_held_s
from planner.state.jobs import LiveJob
from planner.state.lacks import missing
from planner.turns.book import Book
from planner.turns.turn import Turn


def tell_status(turn: Turn, book: Book, job: LiveJob, client: str) -> None:
    """Tell `client` where `job` is, after the commit; of a job that runs, as its node last reported it."""
    node = book.cluster.nodes.get(job.node or "")
    attempt = node.attempts.get((job.id, job.attempts)) if node else None
    if node is None or attempt is None:
        foretold_s = book.foretell(job, turn.now)
        eta = None if foretold_s is None else book.calibrations[Stage.ACCEPTED].eta(foretold_s, turn.now)
        turn.tell(job, EventKind.STATUS, only=client, eta=eta, reason=why_waiting(book, job, turn.now))
        return
    eta = book.calibrations[Stage.PLACED].eta(foretold_while_held_s(node, attempt, turn.now), turn.now)
    if node.report.running != attempt.key:
        turn.tell(job, EventKind.STATUS, only=client, eta=eta)
        return
    image_steps = node.report.image_steps or job.request.image_steps_run
    turn.tell(
        job,
        EventKind.STATUS,
        only=client,
        eta=eta,
        step=min(node.report.image_step, image_steps),
        image_steps=image_steps,
        running_s=None if attempt.begins_at is None else min(max(turn.now - attempt.begins_at, 0.0), MAX_DURATION_S),
    )


def why_waiting(book: Book, job: LiveJob, now: float) -> str | None:
    """Say why a job waits, for the person who waits for it."""
    if job.state is not JobState.WAITING:
        return None
    ready = book.cluster.ready()
    if not ready:
        return "no node is ready: start a worker with `ladle worker --node NAME`"
    said = missing(book.cluster, job.needs, now)
    return said or f"{len(book.waiting)} jobs wait for {len(ready)} nodes"
