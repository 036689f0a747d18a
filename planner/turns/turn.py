"""One turn of the planner: everything a batch of messages changes, written in one transaction, then published.

Nothing is published before the transaction that justifies it is committed; what was committed but could not be
published is published again later (the outbox), with the same attempt number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from broker_config.bounds import MAX_DURATION_S
from broker_config.calls import Generate, Tell, Withdraw
from broker_config.messages import Assignment, AttemptKey, Delays, Event, EventKind, Failure
from broker_config.publisher import Post
from broker_config.tracing import Value
from planner.calibration import Calibration, Eta, Stage
from planner.ledger.calibrations import save_calibrations
from planner.ledger.ledger import Ledger
from planner.ledger.tables import AttemptState
from planner.state.attempts import LiveAttempt
from planner.state.cluster import Cluster
from planner.state.jobs import LiveJob
from planner.turns.drawing import Drawing
from rl_agent.experience.log import finish_experience, insert_experience

EVENTS_PER_MESSAGE = 200  # about 50 kB: a client's burst arrives in few messages, none of them large


@dataclass(frozen=True)
class PastSpan:
    """What happened to a job that is traced, to be recorded (`planner.traces`) once it is committed."""

    name: str
    attributes: Mapping[str, Value]
    parent: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True)
class Closing:
    """How an attempt ended.

    Attributes:
        busy_s: how long its node worked on it, as far as is known.
        delays: measured, if its job is done.
    """

    attempt: LiveAttempt
    result: str
    failure: Failure | None
    busy_s: float
    delays: Delays | None


@dataclass(kw_only=True)
class Turn:
    """Rows to write and messages to send, collected while a batch is handled.

    Attributes:
        closings, endings: the attempts and jobs that ended; `fenced`: outcomes that were refused; `placing_s`: how long
            the placer took, None if it was not asked. Nobody needs them to go on: they are counted after the commit.
    """

    connection: Connection
    now: float
    new_jobs: dict[str, LiveJob] = field(default_factory=dict)
    moved_jobs: dict[str, LiveJob] = field(default_factory=dict)
    finished_jobs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    new_attempts: list[Mapping[str, Any]] = field(default_factory=list)
    closed_attempts: list[Mapping[str, Any]] = field(default_factory=list)
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    outcomes: list[Mapping[str, Any]] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)
    forgotten_nodes: list[str] = field(default_factory=list)
    done: set[AttemptKey] = field(default_factory=set)
    learned: set[tuple[str, str]] = field(default_factory=set)
    calibrations: dict[Stage, Calibration] = field(default_factory=dict)
    dead_letters: list[Mapping[str, Any]] = field(default_factory=list)
    assignments: list[tuple[str, LiveAttempt, Post]] = field(default_factory=list)
    withdrawals: dict[str, list[AttemptKey]] = field(default_factory=lambda: defaultdict(list))
    events: dict[tuple[str, EventKind], list[Event]] = field(default_factory=lambda: defaultdict(list))
    closings: list[Closing] = field(default_factory=list)
    endings: list[LiveJob] = field(default_factory=list)
    fenced: int = 0
    placing_s: float | None = None
    spans: list[PastSpan] = field(default_factory=list)

    # Jobs

    def trace(self, name: str, job: LiveJob, began_at: float, attributes: Mapping[str, Value]) -> None:
        """Note a span that ends now, if the job is traced."""
        if job.traceparent is None:
            return
        attributes = {"ladle.job": job.id, **attributes}
        self.spans.append(PastSpan(name, attributes, job.traceparent, began_at, ended_at=self.now))

    def add_job(self, job: LiveJob) -> None:
        """Write a new job."""
        self.new_jobs[job.id] = job

    def move_job(self, job: LiveJob) -> None:
        """Write where a job is at the end of the turn."""
        self.moved_jobs[job.id] = job

    def finish_job(self, job: LiveJob, failure: Failure | None, drawing: Drawing | None) -> None:
        """Write the end of a job, whose state is terminal by now, and tell its clients."""
        self.moved_jobs.pop(job.id, None)
        self.endings.append(job)
        self.finished_jobs[job.id] = {
            "of_job": job.id,
            "state": job.state,
            "finished_at": self.now,
            "failures": job.failures,
            "failure": None if failure is None else failure.to_wire(),
            "node": job.node,
            **({} if drawing is None else drawing.columns()),
        }
        reason = failure.message if failure else None
        told = {} if drawing is None else drawing.event_fields()
        self.tell(job, EventKind(job.state.lower()), failure=failure, reason=reason, **told)

    # Attempts

    def open_attempt(self, attempt: LiveAttempt, *, foretold_s: float, eta: Eta) -> None:
        """Write a new attempt, and what was predicted of it."""
        self.new_attempts.append(
            {
                "job": attempt.job,
                "number": attempt.number,
                "node": attempt.node,
                "state": AttemptState.WRITTEN,
                "created_at": attempt.placed_at,
                "predicted_service_s": attempt.predicted_s,
                "placer": attempt.placer,
                "policy_version": attempt.policy_version,
                "foretold_s": foretold_s,
                "eta_p50_s": eta.p50_s,
                "eta_p90_s": eta.p90_s,
            }
        )

    def decide(self, decisions: Iterable[Mapping[str, Any]]) -> None:
        """Write rows of experience."""
        self.decisions += decisions

    def close_attempt(
        self, attempt: LiveAttempt, result: str, failure: Failure | None = None, delays: Delays | None = None
    ) -> None:
        """Write how an attempt ended, and the delay parts if its job is done."""
        learnt = {} if delays is None else {**delays.model_dump(), "reward": -delays.service_delay_s}
        if result == "done":
            self.done.add(attempt.key)
        key = {"of_job": attempt.job, "of_number": attempt.number}
        began_at, ended_at = self._busy_times(attempt, result, delays)
        busy_s = 0.0 if began_at is None or ended_at is None else max(ended_at - began_at, 0.0)
        self.closings.append(Closing(attempt=attempt, result=result, failure=failure, busy_s=busy_s, delays=delays))
        self.outcomes.append({**key, "finished_at": self.now, "result": result, **learnt})
        self.closed_attempts.append(
            {
                **key,
                "closed_at": self.now,
                "began_at": began_at,
                "ended_at": ended_at,
                "result": result,
                "failure": None if failure is None else failure.to_wire(),
            }
        )

    @property
    def closed(self) -> set[AttemptKey]:
        """The attempts that end in this turn."""
        return {(row["of_job"], row["of_number"]) for row in self.closed_attempts}

    def _busy_times(
        self, attempt: LiveAttempt, result: str, delays: Delays | None
    ) -> tuple[float, float] | tuple[None, None]:
        """Return from when to when its node worked on an attempt that ends now: as it says, if the job is done."""
        if delays is not None:
            ended_at = self.now - delays.transfer_out_s
            return ended_at - delays.generation_s - delays.load_s, ended_at
        if attempt.begins_at is None or result == "lost":
            return None, None
        return attempt.begins_at, self.now

    def has_done(self, key: AttemptKey) -> bool:
        """True when this turn has closed the attempt as done; the ledger knows of the turns before."""
        return key in self.done

    def fence(self) -> None:
        """Count an outcome that was refused."""
        self.fenced += 1

    def note_placing(self, seconds: float) -> None:
        """Note how long the placer took."""
        self.placing_s = seconds

    # Nodes

    def save_node(self, node: str, reason: str = "") -> None:
        """Write a node as it is at the end of the turn; `reason` says why it is in its state."""
        self.nodes[node] = reason

    def forget_node(self, node: str) -> None:
        """Delete what is written of a node, apart from its attempts."""
        self.nodes.pop(node, None)
        self.learned = {pair for pair in self.learned if pair[0] != node}
        self.forgotten_nodes.append(node)

    def save_estimate(self, node: str, model: str) -> None:
        """Write what is known of a node's speed for a model at the end of the turn."""
        self.learned.add((node, model))

    def save_calibration(self, stage: Stage, calibration: Calibration) -> None:
        """Write what predictions of a stage came to, as it is at the end of the turn."""
        self.calibrations[stage] = calibration

    # Messages

    def bury(self, letter: Mapping[str, Any]) -> None:
        """Keep the row of a dead letter."""
        self.dead_letters.append(letter)

    def tell(
        self,
        job: LiveJob,
        kind: EventKind,
        *,
        only: str | None = None,
        eta: Eta | None = None,
        **more: Any,
    ) -> None:
        """Send an event to the job's client and its listeners, or to one client `only`, after the commit."""
        event = Event(
            job=job.id,
            kind=kind,
            state=job.state,
            attempt=job.attempts,
            node=job.node,
            eta_p50_s=None if eta is None else round(min(eta.p50_s, MAX_DURATION_S), 3),
            eta_p90_s=None if eta is None else round(min(eta.p90_s, MAX_DURATION_S), 3),
            **more,
        )
        for client in (job.client, *job.listeners) if only is None else (only,):
            self.answer(client, event)

    def answer(self, client: str, event: Event) -> None:
        """Send `event`, of a job that may not be open, to `client` after the commit."""
        self.events[client, event.kind].append(event)

    def assign(self, node: str, attempt: LiveAttempt, assignment: Assignment, traceparent: str | None) -> None:
        """Send an attempt to its node after the commit, in the trace of its job."""
        post = Generate(assignment).post(traceparent=traceparent)
        self.assignments.append((node, attempt, post))

    def withdraw(self, node: str, key: AttemptKey) -> None:
        """Tell a node's worker to drop an attempt, running or queued."""
        self.withdrawals[node].append(key)

    def write(self, ledger: Ledger, cluster: Cluster) -> None:
        """Write all rows; the caller commits."""
        ledger.insert_jobs(self.connection, [job.row() for job in self.new_jobs.values()])
        ledger.insert_attempts(self.connection, self.new_attempts)
        ledger.close_attempts(self.connection, self.closed_attempts)
        insert_experience(self.connection, self.decisions)
        finish_experience(self.connection, self.outcomes)
        moved = [
            {
                "of_job": job.id,
                "state": job.state,
                "node": job.node,
                "attempts": job.attempts,
                "failures": job.failures,
                "client": job.client,
                "priority": int(job.priority),
            }
            for job in self.moved_jobs.values()
            if job.id not in self.new_jobs
        ]
        ledger.move_jobs(self.connection, moved)
        ledger.finish_jobs(self.connection, list(self.finished_jobs.values()))
        ledger.save_nodes(
            self.connection, [cluster.nodes[name].row(self.now, reason) for name, reason in self.nodes.items()]
        )
        ledger.save_estimates(self.connection, cluster.estimates, sorted(self.learned))
        save_calibrations(self.connection, self.calibrations)
        ledger.delete_nodes(self.connection, self.forgotten_nodes)
        ledger.insert_dead_letters(self.connection, self.dead_letters)

    def posts(self) -> list[Post]:
        """Return what to publish after the commit, apart from the assignments."""
        posts = [Withdraw(node, keys).post() for node, keys in self.withdrawals.items()]
        for (client, kind), events in self.events.items():
            size = 1 if kind is EventKind.DONE else EVENTS_PER_MESSAGE
            for start in range(0, len(events), size):
                posts.append(Tell(client, kind, events[start : start + size]).post())
        return posts
