"""The planner: handles batches of messages in turns, and places every WAITING job it can at the end of each.

`core` holds the state and the turn; what a message means is in `intake` (clients), `recorder` (outcomes) and `watch`
(nodes and time). All of them change memory and collect rows in a `Turn`. If the transaction fails, memory is thrown
away and read again from the ledger.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from broker_config.errors import BrokerUnavailableError
from broker_config.messages import (
    Assignment,
    Event,
    EventKind,
    Failure,
    FailureKind,
    JobState,
    NodeReport,
)
from broker_config.publisher import Sender
from broker_config.settings import Settings
from planner.ledger.ledger import Ledger
from planner.ledger.tables import AttemptState
from planner.serving.probation import Probation
from planner.serving.served_policy import ServedPolicy
from planner.state.cluster import Clock, Cluster, LiveAttempt, Node, NodeState
from planner.state.eta import Eta, eta_when_placed, eta_when_waiting
from planner.state.jobs import LiveJob, WaitingJobs
from planner.turns.decision_log import Given, experience_rows
from planner.turns.turn import Turn, attempt_row
from rl_agent.placing.observation import JobView, Observation, observe
from rl_agent.placing.ordering import order_key
from rl_agent.placing.rules import Placement, Placer

logger = logging.getLogger(__name__)

PLACEMENTS_PER_FAILURE = 10
SILENT_RIVAL_S = 5.0
FAULTS_OF_THE_NODE = (FailureKind.MODEL_MISSING, FailureKind.OUT_OF_MEMORY)  # it would fail the same job again


class Planner:
    """The state of one planner process and the turns that change it.

    Args:
        settings: window, ageing, limits.
        ledger: the truth; migrated by the caller.
        publisher: sends assignments and events.
        placer: the rule that chooses nodes.
        clock: tells the time.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, publisher: Sender, placer: Placer, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.placer = placer
        self.probation = Probation()
        self.policies = placer if isinstance(placer, ServedPolicy) else None
        self.clock = clock or Clock()
        self.identity = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.cluster = Cluster()
        self.jobs: dict[str, LiveJob] = {}
        self.waiting = WaitingJobs(settings.fairness)
        self._publisher = publisher
        self._lock = threading.RLock()
        self._is_current = False
        self._rival: tuple[tuple[str, int] | None, float] = (None, 0.0)

    def stands_by(self) -> bool:
        """True while another planner process is current and ticks: this one leaves the clock to it.

        A standby that ticked as well would take over and read everything again each second.
        """
        with self._lock, self.ledger.transaction() as connection:
            pulse = self.ledger.pulse(connection)
        if pulse is None or pulse[0] == self.identity:
            return False
        now = self.clock.now()
        if self._rival[0] != pulse:
            self._rival = pulse, now
        return now - self._rival[1] < SILENT_RIVAL_S

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Open a turn: at its end jobs are placed, all rows are committed, then all messages are published.

        Raises:
            DatabaseUnavailableError: nothing was committed and nothing was published.
        """
        with self._lock:
            try:
                with self.ledger.transaction() as connection:
                    self._become_current(connection)
                    turn = Turn(connection=connection, now=self.clock.now())
                    yield turn
                    self._place(turn)
                    turn.write(self.ledger, self.cluster.estimates)
            except BaseException:
                self._is_current = False  # memory is ahead of the ledger: read it again
                raise
            self._publish(turn)

    def unpublished(self) -> list[tuple[Node, LiveAttempt]]:
        """Return the attempts that were committed and whose message is not known to have left (the outbox)."""
        return [(node, attempt) for node, attempt in self.cluster.attempts() if not attempt.published]

    def publish_outbox(self, turn: Turn) -> None:
        """Send again what an earlier turn committed and could not publish."""
        for node, attempt in self.unpublished():
            job = self.jobs.get(attempt.job)
            if job is not None and not attempt.withdrawn:
                turn.assign(node.name, attempt, self._assignment(job, attempt.number, node.name))

    # Jobs change state only through the following methods

    def accept(self, turn: Turn, job: LiveJob) -> None:
        """Take a new job: WAITING."""
        self.jobs[job.id] = job
        turn.new_jobs[job.id] = job
        self._wait(job)
        eta = eta_when_waiting(self.cluster, self.waiting, job, turn.now)
        job.foretold_s = None if eta is None else eta.p50_s
        self.tell(turn, job, EventKind.ACCEPTED, eta=eta)

    def take_back(self, turn: Turn, job: LiveJob, reason: str, *, failed: FailureKind | None) -> None:
        """Make a placed job WAITING again; what `failed` counts against `max_attempts`.

        When the attempts are used up, the job is FAILED with `reason` and this last kind. Attempts that never ran (a
        node was drained, a queue was gone) are not held against the job, but they are bounded too.
        """
        job.failures += failed is not None
        if failed in FAULTS_OF_THE_NODE and job.node is not None:
            job.unfit_nodes |= {job.node}
        most = self.settings.max_attempts
        if job.failures >= most or job.attempts >= most * PLACEMENTS_PER_FAILURE:
            message = f"gave up after {job.attempts} attempts: {reason}"
            failure = Failure(kind=failed or FailureKind.INTERNAL, message=message)
            self.finish(turn, job, JobState.FAILED, failure=failure)
            return
        job.state, job.node = JobState.WAITING, None
        turn.moved_jobs[job.id] = job
        self._wait(job)
        self.tell(turn, job, EventKind.WAITING, reason=reason)

    def finish(
        self, turn: Turn, job: LiveJob, state: JobState, *, failure: Failure | None = None, **columns: Any
    ) -> None:
        """Bring a job to a terminal state and forget it; `columns` are those of a DONE job."""
        self.jobs.pop(job.id, None)
        self.waiting.remove(job.id)
        turn.moved_jobs.pop(job.id, None)
        turn.finished_jobs[job.id] = {
            "of_job": job.id,
            "state": state,
            "finished_at": turn.now,
            "failures": job.failures,
            "failure": None if failure is None else failure.to_wire(),
            "node": job.node,
            **columns,
        }
        job.state = state
        if state is not JobState.DONE:
            self.tell(turn, job, EventKind(state.lower()), failure=failure, reason=failure.message if failure else None)
            logger.info(
                "job %s %s attempts=%d node=%s%s",
                job.id,
                state,
                job.attempts,
                job.node,
                f" {failure.kind}: {failure.message}" if failure else "",
            )

    def withdraw(self, turn: Turn, node: Node, attempt: LiveAttempt, result: str) -> None:
        """Close an attempt whose node may still run it; its place stays taken until the node says it has let go."""
        attempt.withdrawn = True
        turn.close_attempt(attempt, result)
        turn.withdraw(node.name, attempt)

    def tell(
        self,
        turn: Turn,
        job: LiveJob,
        kind: EventKind,
        *,
        only: str | None = None,
        eta: Eta | None = None,
        reason: str | None = None,
        **more: Any,
    ) -> None:
        """Send an event to the job's client and whoever else listens, or to one client `only`."""
        event = Event(
            job=job.id,
            kind=kind,
            state=job.state,
            attempt=job.attempts,
            node=job.node,
            eta_p50_s=None if eta is None else round(eta.p50_s, 3),
            eta_p90_s=None if eta is None else round(eta.p90_s, 3),
            reason=reason,
            **more,
        )
        for client in (job.client, *job.listeners) if only is None else (only,):
            turn.tell(client, event)

    # Placement

    def _wait(self, job: LiveJob) -> None:
        job.work_s = self.cluster.estimates.fleet_generation_s(job.request.model, job.units)
        job.order = order_key(
            job=job.id,
            priority=int(job.priority),
            predicted_work_s=job.work_s,
            arrival_s=job.created_at,
            ageing=self.settings.ageing,
        )
        self.waiting.push(job)

    def _place(self, turn: Turn) -> None:
        """Put the first WAITING jobs to the placer, in order, and give out what it places."""
        room = self.cluster.room(self.settings.window, turn.now)
        if room < 1 or not len(self.waiting):
            return
        nodes = self.cluster.ready()
        count = int(min(room + self.settings.lookahead, len(self.waiting)))
        candidates = self.waiting.take(count, self.cluster.models())
        if not candidates:
            return
        views = [job.view(turn.now) for job in candidates]
        observation = observe(
            views,
            [node.view(self.settings.window, turn.now) for node in nodes],
            self.cluster.estimates,
            waiting=len(candidates) + len(self.waiting),
        )
        if any(job.unfit_nodes for job in candidates):
            observation = _without_unfit(observation, candidates)
        placement = self.placer.place(observation)
        for row in np.flatnonzero(placement.node < 0).tolist():
            candidates[row].latent_action = _by_node(observation, placement, row)
            self.waiting.push(candidates[row])
        given = [
            self._give(turn, job, views[row], nodes[chosen], observation, row, chosen, placement.versions.get(row))
            for row, (job, chosen) in enumerate(zip(candidates, placement.node.tolist(), strict=True))
            if chosen >= 0
        ]
        if self.settings.experience_kept:
            beside = None if self.policies is None else self.policies.beside
            turn.decisions += experience_rows(observation, placement, given, beside)

    def _give(
        self,
        turn: Turn,
        job: LiveJob,
        view: JobView,
        node: Node,
        observation: Observation,
        row: int,
        chosen: int,
        policy_version: str | None,
    ) -> Given:
        eta = eta_when_placed(observation, node, row, chosen, turn.now)
        job.attempts += 1
        job.state, job.node = JobState.PLACED, node.name
        job.latent_action = None
        turn.moved_jobs[job.id] = job
        self.waiting.charge(job)
        attempt = LiveAttempt(
            job=job.id,
            number=job.attempts,
            model=job.request.model,
            units=job.units,
            predicted_s=float(observation.service_s[row, chosen]),
            spread_log=float(observation.generation_log_std[row, chosen]),
            placed_at=turn.now,
            placer=self.placer.name,
            policy_version=policy_version,
        )
        decision = {
            "placer": attempt.placer,
            "policy_version": attempt.policy_version,
            "eta_p50_s": eta.p50_s,
            "eta_p90_s": eta.p90_s,
        }
        node.add(attempt, turn.now)
        turn.new_attempts.append(attempt_row(attempt, node=node.name, decision=decision))
        turn.assign(node.name, attempt, self._assignment(job, attempt.number, node.name))
        self.tell(turn, job, EventKind.PLACED, eta=eta, placer=self.placer.name)
        return Given(row=row, job=job, view=view, node=node, attempt=attempt, eta=eta)

    def _assignment(self, job: LiveJob, number: int, node: str) -> Assignment:
        return Assignment(
            job=job.id,
            attempt=number,
            node=node,
            client=job.client,
            request=job.request,
            limit_s=self.settings.attempt_limit_s,
            ingress=job.ingress,
        )

    # After the commit

    def _publish(self, turn: Turn) -> None:
        posts = [post for _, _, post in turn.assignments]  # after the events: a client hears "placed" before "started"
        try:
            unroutable = {id(post) for post in self._publisher.publish([*turn.posts(), *posts])}
        except BrokerUnavailableError as exc:
            logger.warning("%d assignments stay in the outbox: %s", len(posts), exc)
            return
        sent = [attempt for _, attempt, post in turn.assignments if id(post) not in unroutable]
        for attempt in sent:
            attempt.published = True
        if sent:
            with self.ledger.transaction() as connection:
                self.ledger.mark_published(connection, [attempt.key for attempt in sent])
        lost = {node for node, _, post in turn.assignments if id(post) in unroutable}
        if lost:
            self._lose_route(lost)

    def _lose_route(self, names: set[str]) -> None:
        """A node's queue does not exist: nobody consumes it, so the node is GONE until it reports again."""
        with self.turn() as turn:
            for name in names:
                lose_node(self, turn, self.cluster.nodes[name], "its queue does not exist")

    # Memory from the ledger

    def _become_current(self, connection: Any) -> None:
        """Make sure that memory reflects the ledger, whichever planner process wrote last."""
        if self.ledger.holder(connection) != self.identity:
            self._is_current = False
        if not self._is_current:
            self.ledger.take_over(connection, self.identity)
            self._load(connection)
            self._is_current = True

    def _load(self, connection: Any) -> None:
        now = self.clock.now()
        if self.policies is not None:
            self.policies.refresh(connection)
        self.cluster = Cluster(estimates=self.ledger.estimates(connection))
        for row in self.ledger.nodes(connection):
            self.cluster.nodes[row["name"]] = Node(
                name=row["name"],
                state=NodeState(row["state"]),
                draining=row["draining"],
                seen_at=now,  # a planner that starts gives every node one whole timeout to report
                report=NodeReport(**row["report"]),
                drift_alarms=row["drift"],
            )
        self.jobs = {row["id"]: LiveJob.from_row(row) for row in self.ledger.open_jobs(connection)}
        self.waiting = WaitingJobs(self.settings.fairness)
        for row in self.ledger.open_attempts(connection):
            self._restore_attempt(row, now)
        for job in self.jobs.values():
            if job.state is JobState.WAITING:
                self._wait(job)
        logger.info("planner %s is current: %d open jobs, %d waiting", self.identity, len(self.jobs), len(self.waiting))

    def _restore_attempt(self, row: Mapping[str, Any], now: float) -> None:
        job, node = self.jobs.get(row["job"]), self.cluster.nodes.get(row["node"])
        if job is None or node is None:
            return
        attempt = LiveAttempt(
            job=job.id,
            number=row["number"],
            model=job.request.model,
            units=job.units,
            predicted_s=row["predicted_service_s"],
            spread_log=self.cluster.estimates.of(node.name, job.request.model).s_per_unit.std_log,
            placed_at=row["created_at"],
            placer=row["placer"],
            policy_version=row["policy_version"],
            published=row["state"] == AttemptState.PUBLISHED,
        )
        node.add(attempt, now)


def lose_node(planner: Planner, turn: Turn, node: Node, reason: str) -> None:
    """Mark a node GONE and place elsewhere what it held; only the attempt it may have been running counts as failed."""
    node.state = NodeState.GONE
    logger.warning("node %s is gone: %s; %d attempts go elsewhere", node.name, reason, len(node.attempts))
    for attempt in list(node.attempts.values()):
        was_running = attempt.key == node.report.running
        node.remove(attempt.key, turn.now)
        job = planner.jobs.get(attempt.job)
        if attempt.withdrawn or job is None:
            continue
        failure = Failure(kind=FailureKind.NODE_LOST, message=f"node {node.name}: {reason}")
        turn.close_attempt(attempt, "lost", failure)
        turn.withdraw(node.name, attempt)
        planner.take_back(turn, job, failure.message, failed=failure.kind if was_running else None)
    turn.nodes[node.name] = node_row(node, turn.now, reason)


def node_row(node: Node, now: float, reason: str = "") -> dict[str, Any]:
    """Return the ledger row of a node."""
    return {
        "name": node.name,
        "state": node.state,
        "draining": node.draining,
        "reason": reason,
        "report": node.report.to_wire(),
        "drift": dict(node.drift_alarms),
        "seen_at": now,
    }


def _without_unfit(observation: Observation, jobs: Sequence[LiveJob]) -> Observation:
    """Rule out for each job the nodes that are unfit for it, unless no other is eligible: it rather waits for those."""
    eligible = observation.eligible.copy()
    for row, job in enumerate(jobs):
        fit = eligible[row] & ~np.isin(observation.nodes, list(job.unfit_nodes))
        if fit.any():
            eligible[row] = fit
    return replace(observation, eligible=eligible)


def _by_node(observation: Observation, placement: Placement, row: int) -> dict[str, float]:
    """Return the probabilities of one job by node name, zeros left out."""
    probabilities = placement.probabilities[row]
    return {observation.nodes[k]: round(float(probabilities[k]), 6) for k in np.flatnonzero(probabilities)}


__all__ = ["Planner", "lose_node", "node_row"]
