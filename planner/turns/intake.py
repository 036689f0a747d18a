"""What clients ask for: submit, cancel, and where a job is (reconcile)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from broker_config.bounds import ID
from broker_config.errors import RequestRefusedError
from broker_config.messages import (
    Event,
    EventKind,
    Failure,
    FailureKind,
    Submission,
)
from broker_config.refusals import KEY_REUSED, check_limits, refusal
from planner.state.cluster import NodeState
from planner.state.jobs import LiveJob
from planner.state.needs import Needs
from planner.store import Store
from planner.turns.book import Book
from planner.turns.core import Planner
from planner.turns.endings import Endings
from planner.turns.ownership import UNKNOWN_JOB, HeldTo, check_submission, may_know
from planner.turns.status import tell_status
from planner.turns.turn import Turn

logger = logging.getLogger(__name__)

MODELS_NAMED = 30  # in a refusal, and compared for it


def submit(planner: Planner, store: Store, asked: Sequence[tuple[Mapping[str, Any], HeldTo]]) -> None:
    """Accept new jobs; a known id gives the same job again, whose events then go to the client that asks now.

    Args:
        planner: that takes them.
        store: of the images of jobs that have ended.
        asked: submissions in their wire form, each with the owner that its sender is held to.
    """
    checked = [(_checked(planner, raw, owner), owner) for raw, owner in asked]
    endings = Endings(store, planner.settings.gateway_users)
    with planner.turn() as turn:
        known = planner.ledger.jobs(turn.connection, [s.job for s, _ in checked if isinstance(s, Submission)])
        for submission, owner in checked:
            if isinstance(submission, Submission):
                _submit_one(planner, endings, turn, submission, known, owner)
            elif submission is not None:
                client, event = submission
                turn.answer(client, event)


def _checked(planner: Planner, raw: Mapping[str, Any], owner: HeldTo) -> Submission | tuple[str, Event] | None:
    """Return the submission, or the refusal to send to its client (None when the client's name is not valid).

    The client checks too, but is not trusted.
    """
    try:
        submission = Submission(**raw)
        check_limits(submission.request, planner.settings)
        check_submission(planner.settings, submission, owner)
    except (ValidationError, RequestRefusedError) as exc:
        reason = str(refusal(exc) if isinstance(exc, ValidationError) else exc)
        logger.warning("refused job %.60s of client %.60s: %s", raw.get("job"), raw.get("client"), reason)
        job, client = str(raw.get("job")), str(raw.get("client"))
        return (client, _refused(job, reason)) if ID.fullmatch(job) and ID.fullmatch(client) else None
    return submission


def _refused(job: str, reason: str) -> Event:
    failure = Failure(kind=FailureKind.BAD_REQUEST, message=reason)
    return Event(job=job, kind=EventKind.REFUSED, failure=failure, reason=reason)


def _submit_one(
    planner: Planner,
    endings: Endings,
    turn: Turn,
    submission: Submission,
    known: Mapping[str, Mapping[str, Any]],
    owner: HeldTo,
) -> None:
    live = planner.book.jobs.get(submission.job)
    row = known.get(submission.job)
    same = live.request if live else row and row["request"]
    if same is None:
        job = LiveJob.of(submission, turn.now, planner.settings.gateway_users)
        reason = _undrawn(planner.book, job.needs) or _too_many_wait(planner, job.owner)
        if reason is None:
            planner.book.accept(turn, job, _doubts(planner.book, job))
        else:
            turn.answer(submission.client, _refused(job.id, reason))
    elif same not in (submission.request, submission.request.to_wire()) or not may_know(owner, live, row):
        turn.answer(submission.client, _refused(submission.job, KEY_REUSED))
    elif live is not None:
        planner.book.hand_over(turn, live, submission.client)
        tell_status(turn, planner.book, live, submission.client)
    elif row is not None:
        endings.tell(turn, submission.client, row)


def _doubts(book: Book, job: LiveJob) -> list[str]:
    """Say what about a job may be a mistake: an ingress that is no node, although nodes are known; it may be a site."""
    nodes = book.cluster.nodes
    if job.ingress is None or not nodes or job.ingress in nodes:
        return []
    similar = get_close_matches(job.ingress, nodes, n=1)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    return [f"ingress {job.ingress!r} is no node that has reported, so its input is equally near to all{hint}"]


def _unserved(book: Book, model: str) -> str | None:
    """Say that no node serves `model`, where all nodes are known to serve others only.

    A node that serves any model may fetch it; one that is unfit may serve it once it is mended; and nodes that have
    never reported may do so yet.
    """
    nodes = book.cluster.nodes.values()
    if not nodes or any(node.serves(model) or node.state is NodeState.UNFIT for node in nodes):
        return None
    served = sorted({name for node in nodes for name in node.report.models or ()})[:MODELS_NAMED]
    similar = get_close_matches(model, served, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"served are {', '.join(served)}"
    return f"model: {model!r} is served by no node, and none may fetch it; {hint}"


def _undrawn(book: Book, needs: Needs) -> str | None:
    """Say that no node will draw such a job: none serves its model, or all that do know that this is not its size."""
    unserved = _unserved(book, needs.model)
    if unserved is not None:
        return unserved
    serving = [node for node in book.cluster.nodes.values() if node.serves(needs.model)]
    known = [node.sides_px(needs.model) for node in serving]
    sides = sorted({side for allowed in known for side in allowed or ()})
    if not known or None in known or any({needs.width_px, needs.height_px} <= set(allowed or ()) for allowed in known):
        return None
    asked = f"{needs.width_px}x{needs.height_px}"
    return f"size: {asked} is not a size of {needs.model!r}: each side must be {' or '.join(map(str, sides))} pixels"


def _too_many_wait(planner: Planner, owner: str) -> str | None:
    """Name the limit that keeps `owner` from having one more job WAITING, if any."""
    limits = planner.settings
    waiting, own = len(planner.book.waiting), planner.book.waiting.count_of(owner)
    if waiting >= limits.max_waiting:
        return f"{waiting} jobs wait already (LADLE_MAX_WAITING): try again later"
    if limits.max_waiting_per_client and own >= limits.max_waiting_per_client:
        return f"{own} jobs of this client wait already (LADLE_MAX_WAITING_PER_CLIENT): try again later"
    return None


def cancel(planner: Planner, asked: Sequence[tuple[str, HeldTo]]) -> None:
    """Cancel jobs that have not ended; a node that runs one stops at its next image step.

    Args:
        planner: that has them.
        asked: ids of jobs, each with the owner that its sender is held to; a job of another owner goes on.
    """
    with planner.turn() as turn:
        for job_id, owner in asked:
            job = planner.book.jobs.get(job_id)
            if job is not None and may_know(owner, job):
                planner.book.cancel(turn, job)
            elif job is not None:
                logger.warning("%s may not cancel job %s, which is not its own", owner, job_id)


def reconcile(planner: Planner, endings: Endings, client: str, jobs: Sequence[str], owner: HeldTo = None) -> None:
    """Tell `client` the state of each of `jobs`, and send it their events from now on.

    Args:
        planner: that has them.
        endings: of the batch that the question is of.
        client: that asks.
        jobs: their ids; of those that are not `owner`'s nothing is told, not even that they exist.
        owner: that the sender is held to.
    """
    if not ID.fullmatch(client):
        raise RequestRefusedError(f"client: {client[:60]!r} is no name", "client")
    with planner.turn() as turn:
        rows = planner.ledger.jobs(turn.connection, [job for job in jobs if job not in planner.book.jobs])
        for job_id in dict.fromkeys(jobs):
            live, row = planner.book.jobs.get(job_id), rows.get(job_id)
            if not may_know(owner, live, row):
                turn.answer(client, Event(job=job_id, kind=EventKind.UNKNOWN, reason=UNKNOWN_JOB))
            elif live is not None:
                live.add_listener(client)
                tell_status(turn, planner.book, live, client)
            elif row is not None:
                endings.tell(turn, client, row)
            else:
                turn.answer(client, Event(job=job_id, kind=EventKind.UNKNOWN, reason=UNKNOWN_JOB))
