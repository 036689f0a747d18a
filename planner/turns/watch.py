"""What time and nodes bring: reports, silence, drains, deadlines, overdue attempts, the outbox."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from broker_config.calls import Drain
from broker_config.errors import ConfigurationError
from broker_config.messages import Abilities, Failure, FailureKind, JobState, NodeReport
from broker_config.topology import check_node_name
from planner.state.cluster import NO_RESULT, Cluster, LiveNode, NodeState
from planner.state.lacks import missing
from planner.state.needs import Needs, Thing
from planner.store import Store
from planner.turns.book import Book
from planner.turns.core import Planner
from planner.turns.model_check import check_models
from planner.turns.store_check import check_store
from planner.turns.turn import Turn
from rl_agent.experience.log import prune_experience

logger = logging.getLogger(__name__)

SAVE_SEEN_EVERY_S = 30.0  # a row for each heartbeat of each node would cost more than it tells
IDLE_INTERVALS_BEFORE_RESEND = 3  # heartbeat intervals: an assignment may still be on its way
MAX_RESENDS = 3  # a queue that loses the same message so often will lose it again


def report(planner: Planner, store: Store, reports: Sequence[Mapping[str, Any]]) -> None:
    """Handle heartbeats: new nodes, changed states, measured speeds, running attempts."""
    with planner.turn() as turn:
        planner.book.cluster.hear()
        for raw in reports:
            try:
                parsed = NodeReport(**raw)
                check_node_name(parsed.node)
            except (ValidationError, ConfigurationError) as exc:
                logger.warning("ignored a malformed report of node %.60s: %s", raw.get("node"), exc)
                continue
            _report_one(planner.book, store, turn, parsed)
        check_models(planner.book, turn)


def drain(planner: Planner, order: Drain) -> None:
    """Stop giving a node jobs, or start again; what it has not begun is placed elsewhere, what it runs is finished."""
    with planner.turn() as turn:
        node = planner.book.cluster.nodes.get(order.node)
        if node is None:
            logger.warning("cannot drain %r: no such node", order.node)
            return
        _set_draining(turn, node, on=order.on, until=None if order.for_s is None else turn.now + order.for_s)
        if order.on:
            planner.book.take_back_queued(turn, node, f"node {node.name} is draining")


def _set_draining(turn: Turn, node: LiveNode, *, on: bool, until: float | None = None) -> None:
    node.draining, node.drained_until = on, until if on else None
    if node.state is not NodeState.GONE:  # else it gets jobs when it reports again, and not before
        node.update_state()
    turn.save_node(node.name, node.note)
    logger.info("node %s: %s", node.name, node.state)


def remove(planner: Planner, name: str) -> None:
    """Forget a node whose user was revoked: everything it held is placed elsewhere at once."""
    with planner.turn() as turn:
        node = planner.book.cluster.nodes.get(name)
        if node is None:
            logger.warning("cannot remove %r: no such node", name)
            return
        planner.book.lose_node(turn, node, "it was removed")
        planner.book.forget_node(turn, node)


def tick(planner: Planner) -> None:
    """Once a second: notice silence, deadlines, overdue attempts and unsent assignments."""
    since_last_tick_s = planner.since_last_tick_s()
    if planner.stands_by():
        return
    with planner.turn() as turn:
        planner.ledger.beat(turn.connection, turn.now)
        if planner.policies is not None:
            planner.probation.look(turn.connection, turn.now)
            planner.policies.refresh(turn.connection)
        prune_experience(turn.connection, planner.settings.experience_kept)
        if planner.may_judge(turn, since_last_tick_s):
            for node in list(planner.book.cluster.nodes.values()):
                _watch_node(planner.book, turn, node)
        check_models(planner.book, turn)
        _watch_waiting(planner.book, turn)
        planner.publish_outbox(turn)


def _report_one(book: Book, store: Store, turn: Turn, report: NodeReport) -> None:
    node = book.cluster.nodes.get(report.node)
    is_new = node is None
    if node is None:
        node = LiveNode(name=report.node, state=NodeState.GONE, seen_at=turn.now, report=report)
        book.cluster.nodes[report.node] = node
    was, old = node.state, node.report
    node.report, node.seen_at = report, turn.now
    note = node.store_note
    if is_new or report.instance != old.instance:
        _take_warm_up(book.cluster, turn, report)
        node.store_check_at = turn.now
        for breaker in node.breakers.values():
            breaker.retry_at = turn.now  # it may have been mended: a trial is due at once
        node.refusals.clear()
    node.refusals.forget(_new_things(old, report))
    if report.state == "stopped":
        if was is not NodeState.GONE:
            book.lose_node(turn, node, "its worker was stopped")
        return
    node.update_state()
    check_store(store, node, turn.now)
    _compare_running(book, turn, node)
    if node.state is not was or is_new:
        logger.info("node %s: %s%s", node.name, node.state, f" ({report.reason})" if report.reason else "")
        if node.state in (NodeState.UNFIT, NodeState.DRAINING):
            book.take_back_queued(turn, node, f"node {node.name} is {node.state}")
        turn.save_node(node.name, node.note)
    elif _has_changed(old, report) or node.store_note != note or _is_time_to_save(report, turn.now):
        turn.save_node(node.name, node.note)


def _new_things(old: NodeReport, new: NodeReport) -> Iterator[Thing]:
    """Yield what a node reports to have, and did not before."""
    before, now = ((report.abilities or Abilities()).adapters or {} for report in (old, new))
    for adapter in now.keys() - before.keys():
        yield Thing("adapter", adapter)
    for model in set(new.resident) - set(old.resident):
        yield Thing("model", model)


def _watch_waiting(book: Book, turn: Turn) -> None:
    """End WAITING jobs whose deadline has passed, and look at whether any node that is up has what the others need."""
    said: dict[Needs, str | None] = {}
    for job in [job for job in book.jobs.values() if job.state is JobState.WAITING]:
        if job.needs not in said:
            said[job.needs] = missing(book.cluster, job.needs, turn.now)
        if job.deadline_at is not None and job.deadline_at < turn.now:
            why = said[job.needs]
            failure = None if why is None else Failure(kind=FailureKind.MODEL_MISSING, message=why)
            book.finish(turn, job, JobState.EXPIRED, failure=failure)
        else:
            book.wait_for_what_is_missing(turn, job, said[job.needs])


def _take_warm_up(cluster: Cluster, turn: Turn, report: NodeReport) -> None:
    """Learn what a worker that has just started measured of its models."""
    measured = {model: (speed.load_s, speed.s_per_unit, speed.overhead_units) for model, speed in report.speeds.items()}
    for model in cluster.estimates.observe_warm_ups(report.node, measured) if measured else ():
        turn.save_estimate(report.node, model)


def _has_changed(old: NodeReport, new: NodeReport) -> bool:
    """True when what others read of a node in the ledger differs, apart from figures that differ at every heartbeat."""
    before, now = (report.abilities or Abilities() for report in (old, new))
    return (old.resident, before.adapters, before.models) != (new.resident, now.adapters, now.models)


def _is_time_to_save(report: NodeReport, now: float) -> bool:
    """True for one report in each `SAVE_SEEN_EVERY_S`, so that an unchanged node is not written at every heartbeat."""
    return int(now / SAVE_SEEN_EVERY_S) != int((now - report.interval_s) / SAVE_SEEN_EVERY_S)


def _compare_running(book: Book, turn: Turn, node: LiveNode) -> None:
    """Correct what the planner believes by what the node says it runs."""
    running = node.report.running
    if running is None:
        _look_at_idle(book, turn, node)
        return
    node.idle_at = None, turn.now
    attempt = node.attempts.get(running)
    job = book.jobs.get(running[0])
    if attempt is None or attempt.withdrawn:
        turn.withdraw(node.name, running)  # it works for nothing: cancelled, or placed elsewhere meanwhile
    elif job is not None:
        book.start_running(turn, job)


def _look_at_idle(book: Book, turn: Turn, node: LiveNode) -> None:
    """Resend a node's attempts when it stays idle although it holds one: its queue was deleted with its messages.

    Judged by the planner's clock, not by the number of reports: after an outage of a link or of the planner many old
    reports arrive at once, with the outcome behind them. A worker recognises an attempt that it has finished before and
    answers with the stored outcome. An attempt that keeps vanishing is given up.
    """
    head = node.head.key if node.head else None
    seen, since = node.idle_at
    if head is None or head != seen:
        node.idle_at = head, turn.now
        return
    if turn.now - since < IDLE_INTERVALS_BEFORE_RESEND * node.report.interval_s:
        return
    node.idle_at = None, turn.now
    _look_for_results(book, turn, node)
    for attempt in list(node.attempts.values()):
        job = book.jobs.get(attempt.job)
        if attempt.withdrawn or job is None:
            node.remove(attempt.key, turn.now)
        elif attempt.resent == MAX_RESENDS:
            node.remove(attempt.key, turn.now)
            why = "has begun it, but sends no result" if job.state is JobState.RUNNING else "does not begin it"
            book.lose(turn, job, attempt, f"node {node.name} {why}")
        else:
            attempt.send_again()
    logger.warning("node %s is idle: %d attempts are sent again", node.name, len(node.attempts))


def _look_for_results(book: Book, turn: Turn, node: LiveNode) -> None:
    """Say so when the node was at its attempts, is idle again, and no result has come: reports go another way."""
    held = [book.jobs.get(attempt.job) for attempt in node.attempts.values() if not attempt.withdrawn]
    if not any(job is not None and job.state is JobState.RUNNING for job in held):
        return
    node.is_unheard = True
    turn.save_node(node.name, node.note)
    logger.warning("node %s: %s", node.name, NO_RESULT)


def _watch_node(book: Book, turn: Turn, node: LiveNode) -> None:
    if node.drained_until is not None and node.drained_until <= turn.now:
        _set_draining(turn, node, on=False)
    if node.state is NodeState.GONE:
        return
    silence_s = turn.now - node.seen_at
    if silence_s > book.settings.node_timeout_s:
        book.lose_node(turn, node, f"no report for {silence_s:.0f} s")
    elif node.is_overdue(turn.now):
        book.take_back_queued(turn, node, f"node {node.name} is far behind its prediction")
    _end_if_never_ending(book, turn, node)


def _end_if_never_ending(book: Book, turn: Turn, node: LiveNode) -> None:
    """Fail what a node has held for longer than it may, all its deliveries and a load taken together.

    An honest worker ends an attempt itself, and the broker its deliveries. A node that only says it works does not.
    """
    head, limit_s = node.head, book.settings.attempt_limit_s * (book.settings.delivery_limit + 2)
    if head is None or head.begins_at is None or turn.now - head.begins_at <= limit_s:
        return
    node.remove(head.key, turn.now)
    node.said.excuse(head.begins_at, turn.now)
    turn.withdraw(node.name, head.key)
    job = book.jobs.get(head.job)
    if job is not None and not head.withdrawn:
        message = f"no result within {limit_s:g} s"
        book.fail(turn, job, head, Failure(kind=FailureKind.TIME_LIMIT, message=message))
