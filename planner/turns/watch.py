"""What time and nodes bring: reports, silence, drains, deadlines, overdue attempts, the outbox."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from broker_config.errors import ConfigurationError
from broker_config.messages import Failure, FailureKind, JobState, NodeReport
from broker_config.topology import check_node_name
from planner.state.cluster import Node, NodeState
from planner.turns.core import Planner, lose_node, node_row
from planner.turns.turn import Turn
from rl_agent.experience.log import prune_experience

logger = logging.getLogger(__name__)

SAVE_SEEN_EVERY_S = 30.0
IDLE_INTERVALS_BEFORE_RESEND = 3
MOST_RESENDS = 3


def report(planner: Planner, reports: Sequence[Mapping[str, Any]]) -> None:
    """Take heartbeats: new nodes, changed states, measured speeds, what runs."""
    with planner.turn() as turn:
        for raw in reports:
            try:
                parsed = NodeReport(**raw)
                check_node_name(parsed.node)
            except (ValidationError, ConfigurationError) as exc:
                logger.warning("ignored a malformed report of node %.60s: %s", raw.get("node"), exc)
                continue
            _report_one(planner, turn, parsed)


def drain(planner: Planner, name: str, *, on: bool) -> None:
    """Stop giving a node jobs (or start again); what it has not begun is placed elsewhere, what it runs it finishes."""
    with planner.turn() as turn:
        node = planner.cluster.nodes.get(name)
        if node is None:
            logger.warning("cannot drain %r: no such node", name)
            return
        node.draining = on
        node.state = _state_of(node)
        if on:
            take_back_queued(planner, turn, node, f"node {name} is draining")
        turn.nodes[name] = node_row(node, turn.now)
        logger.info("node %s: %s", name, node.state)


def remove(planner: Planner, name: str) -> None:
    """Give up on a node whose user was revoked: it is GONE, and all it held goes elsewhere at once."""
    with planner.turn() as turn:
        node = planner.cluster.nodes.get(name)
        if node is None:
            logger.warning("cannot remove %r: no such node", name)
            return
        lose_node(planner, turn, node, "it was removed")


def tick(planner: Planner) -> None:
    """Once a second: notice silence, deadlines, overdue attempts and unsent assignments."""
    if planner.stands_by():
        return
    with planner.turn() as turn:
        planner.ledger.beat(turn.connection)
        if planner.policies is not None:
            planner.probation.look(turn.connection, turn.now)
            planner.policies.refresh(turn.connection)
        prune_experience(turn.connection, planner.settings.experience_kept)
        for node in list(planner.cluster.nodes.values()):
            _watch_node(planner, turn, node)
        for job in [job for job in planner.jobs.values() if job.deadline_at is not None]:
            if job.deadline_at is not None and job.deadline_at < turn.now and job.state is JobState.WAITING:
                planner.finish(turn, job, JobState.EXPIRED)
        planner.publish_outbox(turn)


def take_back_queued(planner: Planner, turn: Turn, node: Node, reason: str) -> None:
    """Make the attempts that `node` has not begun WAITING again."""
    head = node.head
    for attempt in list(node.attempts.values()):
        job = planner.jobs.get(attempt.job)
        if attempt is head or attempt.withdrawn or job is None:
            continue
        planner.withdraw(turn, node, attempt, "taken back")
        planner.take_back(turn, job, reason, failed=None)


def _report_one(planner: Planner, turn: Turn, report: NodeReport) -> None:
    node = planner.cluster.nodes.get(report.node)
    is_new = node is None
    if node is None:
        node = Node(name=report.node, state=NodeState.GONE, seen_at=turn.now, report=report)
        planner.cluster.nodes[report.node] = node
    was, old = node.state, node.report
    node.report, node.seen_at = report, turn.now
    for model, speed in report.speeds.items():
        if is_new or report.instance != old.instance:
            planner.cluster.estimates.observe_warm_up(
                report.node,
                model,
                load_s=speed.load_s,
                s_per_unit=speed.s_per_unit,
                overhead_units=speed.overhead_units,
            )
            turn.learned.add((report.node, model))
    if report.state == "stopped":
        if was is not NodeState.GONE:
            lose_node(planner, turn, node, "its worker was stopped")
        return
    node.state = _state_of(node)
    _compare_running(planner, turn, node)
    if node.state is not was or is_new:
        logger.info("node %s: %s%s", node.name, node.state, f" ({report.reason})" if report.reason else "")
        if node.state in (NodeState.UNFIT, NodeState.DRAINING):
            take_back_queued(planner, turn, node, f"node {node.name} is {node.state}")
        turn.nodes[node.name] = node_row(node, turn.now, report.reason)
    elif old.resident != report.resident or int(turn.now / SAVE_SEEN_EVERY_S) != int(
        (turn.now - report.interval_s) / SAVE_SEEN_EVERY_S
    ):
        turn.nodes[node.name] = node_row(node, turn.now, report.reason)


def _state_of(node: Node) -> NodeState:
    if node.report.state == "unfit":
        return NodeState.UNFIT
    if node.draining or node.report.state == "draining":
        return NodeState.DRAINING
    return NodeState.READY


def _compare_running(planner: Planner, turn: Turn, node: Node) -> None:
    """Let what the node says it runs correct what the planner believes."""
    running = node.report.running
    if running is None:
        _look_at_idle(planner, turn, node)
        return
    node.idle_at = None, turn.now
    attempt = node.attempts.get(running)
    job = planner.jobs.get(running[0])
    if attempt is None or attempt.withdrawn:
        turn.withdrawals[node.name].append(running)  # it works for nothing: cancelled, or placed elsewhere meanwhile
    elif job is not None and job.state is JobState.PLACED:
        job.state = JobState.RUNNING
        turn.moved_jobs[job.id] = job


def _look_at_idle(planner: Planner, turn: Turn, node: Node) -> None:
    """Send attempts again when a node stays idle in front of the same one: its queue was deleted, and its messages.

    By the planner's clock, not by the number of reports: when a link or the planner was away, many old ones come at
    once, and the outcome behind them. The worker recognises an attempt that it has finished before and answers with
    the stored outcome. An attempt that vanishes again and again is given up.
    """
    head = node.head.key if node.head else None
    seen, since = node.idle_at
    if head is None or head != seen:
        node.idle_at = head, turn.now
        return
    if turn.now - since < IDLE_INTERVALS_BEFORE_RESEND * node.report.interval_s:
        return
    node.idle_at = None, turn.now
    for attempt in list(node.attempts.values()):
        job = planner.jobs.get(attempt.job)
        if attempt.withdrawn or job is None:
            node.remove(attempt.key, turn.now)
        elif attempt.resent == MOST_RESENDS:
            node.remove(attempt.key, turn.now)
            failure = Failure(kind=FailureKind.NODE_LOST, message=f"node {node.name} does not begin it")
            turn.close_attempt(attempt, "lost", failure)
            planner.take_back(turn, job, failure.message, failed=failure.kind)
        else:
            attempt.published = False
            attempt.resent += 1
    logger.warning("node %s is idle: %d attempts are sent again", node.name, len(node.attempts))


def _watch_node(planner: Planner, turn: Turn, node: Node) -> None:
    if node.state is NodeState.GONE:
        return
    silence_s = turn.now - node.seen_at
    if silence_s > planner.settings.node_timeout_s:
        lose_node(planner, turn, node, f"no report for {silence_s:.0f} s")
    elif node.is_overdue(turn.now):
        take_back_queued(planner, turn, node, f"node {node.name} is far behind its prediction")
