"""Every open job, who waits, and the nodes: whatever changes a job is a verb of `Book`.

A verb changes memory and notes in the `Turn` which rows and messages follow. If the turn's transaction fails, memory is
thrown away and restored from the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from broker_config.messages import Assignment, EventKind, Failure, FailureKind, JobState, Priority, Timings
from broker_config.settings import Settings
from planner.calibration import Calibration, Eta, Promise, Stage
from planner.ledger.calibrations import read_calibrations
from planner.ledger.ledger import Ledger
from planner.state.attempts import LiveAttempt
from planner.state.cluster import Cluster, LiveNode, NodeState
from planner.state.drift_alarm import watch_drift
from planner.state.eta import foretold_while_waiting_s
from planner.state.jobs import LiveJob
from planner.state.lacks import lack, missing
from planner.state.needs import Thing
from planner.state.odd_models import odd_models
from planner.state.trust import believed_generation_s
from planner.state.waiting import WaitingJobs
from planner.turns.blame import Finding, on_failure, on_success
from planner.turns.choice import Choice
from planner.turns.drawing import Drawing
from planner.turns.turn import Turn
from rl_agent.placing.ordering import OrderKey, order_key

logger = logging.getLogger(__name__)

MAX_PLACEMENTS_PER_FAILURE = 10  # so that attempts which never ran (drains, lost queues) end some day as well


class Book:
    """The planner's memory of jobs and nodes, and the only code that changes a job.

    Args:
        settings: ageing, fair shares, limits.

    Attributes:
        jobs: every open job by id.
        waiting: those of them that are WAITING, in the planner's order.
        cluster: the nodes, their attempts and the running estimates.
        calibrations: what is promised of predictions, by the stage at which they are made.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: dict[str, LiveJob] = {}
        self.waiting = WaitingJobs(settings.fairness)
        self.cluster = Cluster()
        self.calibrations = {stage: Calibration() for stage in Stage}

    # Clients

    def accept(self, turn: Turn, job: LiveJob, warnings: Sequence[str] = ()) -> None:
        """Take a new job: WAITING. `warnings` are for its client."""
        self.jobs[job.id] = job
        turn.add_job(job)
        self._wait(job)
        job.foretold_s = self.foretell(job, turn.now)
        if job.foretold_s is not None:
            job.eta = self.calibrations[Stage.ACCEPTED].promise(job.id, job.foretold_s, turn.now)
        said = missing(self.cluster, job.needs, turn.now)
        job.missing_since = None if said is None else turn.now
        turn.tell(job, EventKind.ACCEPTED, eta=job.eta, warnings=(*warnings, *filter(None, [said])))

    def wait_for_what_is_missing(self, turn: Turn, job: LiveJob, said: str | None) -> None:
        """Tell a WAITING job's client what no ready node has, None for nothing; end the job after a while of that."""
        if said is None or job.missing_since is None:
            job.missing_since = None if said is None else turn.now
            if said is not None:
                turn.tell(job, EventKind.WAITING, reason=said)
        elif turn.now - job.missing_since > self.settings.missing_wait_s:
            waited = f"{said}; the job waited {turn.now - job.missing_since:.0f} s for that (LADLE_MISSING_WAIT_S)"
            self.finish(turn, job, JobState.FAILED, failure=Failure(kind=FailureKind.MODEL_MISSING, message=waited))

    def foretell(self, job: LiveJob, now: float) -> float | None:
        """Return the predicted seconds to the result of a WAITING job, None while no node is ready."""
        try:
            return foretold_while_waiting_s(self.cluster, self.waiting, job, window=self.settings.window, now=now)
        except Exception:  # of what an earlier Ladle wrote, say: the job is accepted all the same
            logger.exception("nothing can be foretold of job %s", job.id)
            return None

    def hand_over(self, turn: Turn, job: LiveJob, client: str) -> None:
        """Make `client` the one whose job it is."""
        job.hand_over_to(client)
        turn.move_job(job)

    def cancel(self, turn: Turn, job: LiveJob) -> None:
        """End a job as CANCELLED; a node that holds it is told to let it go."""
        node = self.cluster.nodes.get(job.node or "")
        attempt = node.attempts.get((job.id, job.attempts)) if node else None
        if node is not None and attempt is not None:
            self.withdraw(turn, node, attempt, "cancelled")
        self.finish(turn, job, JobState.CANCELLED)

    def set_priority(self, turn: Turn, job: LiveJob, priority: Priority) -> None:
        """Move a WAITING job to another class, where its arrival and its work still count, and tell its clients."""
        job.priority = priority
        job.order = self._order(job)
        self.waiting.reorder(job)
        turn.move_job(job)
        foretold_s = self.foretell(job, turn.now)
        eta = None if foretold_s is None else self.calibrations[Stage.ACCEPTED].eta(foretold_s, turn.now)
        turn.tell(job, EventKind.PRIORITY, eta=eta, priority=priority)

    # Placement

    def place(self, turn: Turn, choice: Choice) -> LiveAttempt:
        """Give a job to the node that was chosen for it: PLACED."""
        job, node = choice.job, choice.node
        job.attempts += 1
        job.state, job.node, job.latent_action = JobState.PLACED, node.name, None
        turn.move_job(job)
        self.waiting.charge(job)
        attempt = LiveAttempt(
            job=job.id,
            number=job.attempts,
            node=node.name,
            model=job.request.model,
            adapters=job.needs.adapters,
            units=job.units,
            images=job.request.n,
            predicted_s=choice.predicted_s,
            placed_at=turn.now,
            placer=choice.placer,
            policy_version=choice.policy_version,
            loads=job.needs.model not in node.resident
            or not {*job.needs.adapters} <= node.adapters.get(job.needs.model, set()),
            said_before_s=node.said.total_s,
        )
        node.add(attempt, turn.now)
        turn.open_attempt(attempt, foretold_s=choice.foretold_s, eta=choice.eta)
        self.assign(turn, job, node, attempt)
        turn.trace("wait", job, job.waits_since, {"ladle.node": node.name, "ladle.placer": choice.placer})
        turn.tell(job, EventKind.PLACED, eta=choice.eta, placer=choice.placer)
        return attempt

    def keep_waiting(self, job: LiveJob, latent_action: Mapping[str, float]) -> None:
        """Let a job that got no node wait on; it goes to the placer again from its `latent_action`."""
        job.latent_action = latent_action
        self.waiting.push(job)

    def assign(self, turn: Turn, job: LiveJob, node: LiveNode, attempt: LiveAttempt) -> None:
        """Send an attempt to its node after the commit, for the first time or again."""
        assignment = Assignment(
            job=job.id,
            attempt=attempt.number,
            node=node.name,
            client=job.client,
            request=job.request,
            limit_s=self.settings.attempt_limit_s,
            ingress=job.ingress,
        )
        turn.assign(node.name, attempt, assignment, job.traceparent)

    # Nodes

    def start_running(self, turn: Turn, job: LiveJob) -> None:
        """Note that the node works on the job: RUNNING."""
        if job.state is JobState.PLACED:
            job.state = JobState.RUNNING
            turn.move_job(job)

    def withdraw(self, turn: Turn, node: LiveNode, attempt: LiveAttempt, result: str) -> None:
        """Close an attempt whose node may still run it; its place stays taken until the node says it has let go."""
        attempt.withdrawn = True
        turn.close_attempt(attempt, result)
        turn.withdraw(node.name, attempt.key)

    def learn(
        self, turn: Turn, node: LiveNode, attempt: LiveAttempt, timings: Timings, adapters_load_s: float = 0.0
    ) -> None:
        """Compare what a done attempt took with the clock and with its prediction, then update the estimates.

        Args:
            turn: of the planner.
            node: where it ran.
            attempt: which is done.
            timings: as the node reports them.
            adapters_load_s: that part of the load which was for adapters.
        """
        estimates = self.cluster.estimates
        estimate = estimates.of(node.name, attempt.outfit)
        note = node.note
        generation_s = believed_generation_s(node, attempt, timings, turn.now)
        if watch_drift(node, attempt, generation_s, estimate, turn.now) or node.note != note:
            turn.save_node(node.name, node.note)
        if attempt.adapters:
            estimates.observe_load(node.name, attempt.model, max(timings.load_s - adapters_load_s, 0.0))
            turn.save_estimate(node.name, attempt.model)
        corrected = estimates.observe_outcome(
            node.name,
            attempt.outfit,
            units=attempt.units,
            n=attempt.images,
            generation_s=generation_s,
            load_s=adapters_load_s if attempt.adapters else timings.load_s,
        )
        for name in (node.name, *sorted(corrected)):
            turn.save_estimate(name, attempt.outfit)
        self._keep_promise(turn, Stage.PLACED, attempt.key)

    def give_back(self, turn: Turn, job: LiveJob, attempt: LiveAttempt, result: str) -> None:
        """Close an attempt that its node did not finish: its job waits again, and no failure counts against it.

        A node that stops or drains is not to blame; one that gives back what it could draw fails as any other.
        """
        turn.close_attempt(attempt, result)
        node = self.cluster.nodes.get(job.node or "")
        if node is not None and node.accepts_jobs and not node.has_closed(turn.now):
            self._blame(turn, job, Failure(kind=FailureKind.INTERNAL, message=f"{result} though nobody asked"))
        self.take_back(turn, job, f"node {job.node} gave it back", failed=None)

    def fail(self, turn: Turn, job: LiveJob, attempt: LiveAttempt, failure: Failure) -> None:
        """Close an attempt that failed on its node: its job waits again, or is FAILED when a retry cannot help."""
        turn.close_attempt(attempt, "failed", failure)
        thing = _lacking(job, failure)
        if failure.kind is FailureKind.BAD_REQUEST and thing is None and not self._may_be_nodes_own(job, turn.now):
            self.finish(turn, job, JobState.FAILED, failure=failure)
        elif failure.kind is FailureKind.MODEL_MISSING and self._is_hopeless(job, thing, turn.now):
            message = f"{failure.kind} on {job.node}: {failure.message}; no other node that is ready may have it"
            self.finish(turn, job, JobState.FAILED, failure=Failure(kind=failure.kind, message=message))
        elif thing is not None:
            self._note_lack(turn, job, thing, failure)
        else:
            counts = self._blame(turn, job, failure)
            reason = f"{failure.kind} on {job.node}: {failure.message}"
            logger.warning("job %s attempt %d failed: %s", job.id, attempt.number, reason)
            self.take_back(turn, job, reason, failed=failure.kind, counts=counts)

    def lose(self, turn: Turn, job: LiveJob, attempt: LiveAttempt, reason: str, *, counts: bool = True) -> None:
        """Close an attempt that its node will not answer for: its job waits again.

        Args:
            turn: of the planner.
            job: whose current attempt it is.
            attempt: no node holds it any more.
            reason: names the node.
            counts: whether it counts against `max_attempts`; False where the attempt cannot have run.
        """
        failure = Failure(kind=FailureKind.NODE_LOST, message=reason)
        turn.close_attempt(attempt, "lost", failure)
        self.take_back(turn, job, reason, failed=failure.kind if counts else None)

    def take_back(
        self, turn: Turn, job: LiveJob, reason: str, *, failed: FailureKind | None, counts: bool = True
    ) -> None:
        """Make a placed job WAITING again; a `failed` attempt counts against `max_attempts` unless `counts` is False.

        When the attempts are used up, the job is FAILED with `reason` and this last kind. Attempts that never ran (a
        node was drained, a queue was gone), or failed by fault of their node, do not count against the job, but they
        are bounded too.
        """
        self.calibrations[Stage.PLACED].forget((job.id, job.attempts))
        job.failures += counts and failed is not None
        limit = self.settings.max_attempts
        if job.failures >= limit or job.attempts >= limit * MAX_PLACEMENTS_PER_FAILURE:
            message = f"gave up after {job.attempts} attempts: {reason}"
            failure = Failure(kind=failed or FailureKind.INTERNAL, message=message)
            self.finish(turn, job, JobState.FAILED, failure=failure)
            return
        job.state, job.node, job.waits_since = JobState.WAITING, None, turn.now
        turn.move_job(job)
        self._wait(job)
        turn.tell(job, EventKind.WAITING, reason=reason)

    def take_back_queued(
        self, turn: Turn, node: LiveNode, reason: str, *, only: Callable[[LiveJob], bool] | None = None
    ) -> None:
        """Make the attempts that `node` has not begun WAITING again: all of them, or those of `only` some jobs."""
        head = node.head
        for attempt in list(node.attempts.values()):
            job = self.jobs.get(attempt.job)
            if attempt is head or attempt.withdrawn or job is None or not (only is None or only(job)):
                continue
            self.withdraw(turn, node, attempt, "taken back")
            self.take_back(turn, job, reason, failed=None)

    def lose_node(self, turn: Turn, node: LiveNode, reason: str) -> None:
        """Mark a node GONE and place elsewhere what it held; only the attempt that it was running counts as failed."""
        node.state = NodeState.GONE
        logger.warning("node %s is gone: %s; %d attempts go elsewhere", node.name, reason, len(node.attempts))
        for attempt in list(node.attempts.values()):
            node.remove(attempt.key, turn.now)
            job = self.jobs.get(attempt.job)
            if attempt.withdrawn or job is None:
                continue
            turn.withdraw(node.name, attempt.key)
            was_running = attempt.key == node.report.running
            self.lose(turn, job, attempt, f"node {node.name}: {reason}", counts=was_running)
        turn.save_node(node.name, reason)

    def forget_node(self, turn: Turn, node: LiveNode) -> None:
        """Forget a node that holds nothing any more, with all that was learned of it."""
        del self.cluster.nodes[node.name]
        self.cluster.estimates.forget(node.name)
        turn.forget_node(node.name)

    # The end

    def finish(
        self,
        turn: Turn,
        job: LiveJob,
        state: JobState,
        *,
        failure: Failure | None = None,
        drawing: Drawing | None = None,
    ) -> None:
        """Bring a job to a terminal state and forget it; a DONE job has a `drawing`."""
        drawn_by = self.cluster.nodes.get(job.node or "") if state is JobState.DONE else None
        if drawn_by is not None:
            self._carry_out(turn, job, on_success(self.cluster, drawn_by, job, turn.now))
        if state is JobState.DONE:
            self._keep_promise(turn, Stage.ACCEPTED, job.id)
        self.calibrations[Stage.ACCEPTED].forget(job.id)
        self.calibrations[Stage.PLACED].forget((job.id, job.attempts))
        self.jobs.pop(job.id, None)
        self.waiting.remove(job.id)
        job.state = state
        turn.trace("end", job, turn.now, {"ladle.state": state, "ladle.attempts": job.attempts})
        turn.finish_job(job, failure, drawing)
        if state is not JobState.DONE:
            logger.info(
                "job %s %s attempts=%d node=%s%s",
                job.id,
                state,
                job.attempts,
                job.node,
                f" {failure.kind}: {failure.message}" if failure else "",
                extra={"job": job.id, "state": job.state, "node": job.node, "attempts": job.attempts},
            )

    # Memory from the ledger

    def restore(self, ledger: Ledger, connection: Connection, now: float) -> None:
        """Forget everything and read it again."""
        self.cluster = Cluster(
            nodes={row["name"]: LiveNode.from_row(row, now) for row in ledger.nodes(connection)},
            estimates=ledger.estimates(connection),
            away=(ledger.last_tick(connection) or now, now),
        )
        for name, odd in odd_models(self.cluster.nodes.values()).items():
            self.cluster.nodes[name].odd_models = odd
        self.calibrations = read_calibrations(connection)
        self.jobs = {
            row["id"]: LiveJob.from_row(row, self.settings.gateway_users) for row in ledger.open_jobs(connection)
        }
        for job in self.jobs.values():
            self._resume(Stage.ACCEPTED, job.id, job.foretold_s, job.eta, job.created_at, now)
        for row in ledger.open_attempts(connection):
            self._restore_attempt(row, now)
        self.waiting = WaitingJobs(self.settings.fairness)
        for job in self.jobs.values():
            if job.state is JobState.WAITING:
                self._wait(job)

    def _restore_attempt(self, row: Mapping[str, Any], now: float) -> None:
        job, node = self.jobs.get(row["job"]), self.cluster.nodes.get(row["node"])
        if job is None or node is None:
            return
        model, adapters = job.needs.model, job.needs.adapters
        attempt = LiveAttempt.from_row(row, model=model, adapters=adapters, units=job.units, images=job.request.n)
        node.add(attempt, now)
        eta = Eta(p50_s=row["eta_p50_s"], p90_s=row["eta_p90_s"])
        self._resume(Stage.PLACED, attempt.key, row["foretold_s"], eta, attempt.placed_at, now)

    def _resume(
        self, stage: Stage, key: Hashable, foretold_s: float | None, eta: Eta | None, made_at: float, now: float
    ) -> None:
        """Remember a promise of the ledger, if there was one."""
        if foretold_s is not None and eta is not None:
            promise = Promise(foretold_s=foretold_s, made_at=made_at, eta=eta)
            self.calibrations[stage].resume(key, promise, now)

    def _keep_promise(self, turn: Turn, stage: Stage, key: Hashable) -> None:
        """Learn from a prediction whose result has come."""
        if self.calibrations[stage].keep(key, turn.now):
            turn.save_calibration(stage, self.calibrations[stage])

    def _may_be_nodes_own(self, job: LiveJob, now: float) -> bool:
        """Whether another node is to be asked before a job is called impossible: this one may be wrong."""
        return not job.unfit_nodes and self._others_can(job, now)

    def _is_hopeless(self, job: LiveJob, thing: Thing | None, now: float) -> bool:
        """Whether it is its model that a job's node lacks, no other that is ready may have it, and none ever had it."""
        model = Thing("model", job.needs.model)
        had = (node.said_to_have(model) for node in self.cluster.nodes.values() if node.name != job.node)
        return thing == model and not self._others_can(job, now) and not any(had)

    def _others_can(self, job: LiveJob, now: float) -> bool:
        """Whether a node that is ready, and has not failed the job, lacks nothing of what it needs."""
        known = job.unfit_nodes | {job.node}
        others = (node for node in self.cluster.ready() if node.name not in known)
        return any(lack(self.cluster, node, job.needs, now) is None for node in others)

    def _blame(self, turn: Turn, job: LiveJob, failure: Failure) -> bool:
        """Find out whose fault a failure was; return whether it counts against the job."""
        node = self.cluster.nodes.get(job.node or "")
        if node is None:
            return True
        finding = on_failure(self.cluster, node, job, failure, turn.now)
        job.unfit_nodes |= {node.name}
        self._carry_out(turn, job, finding)
        return job.id not in finding.forgiven

    def _note_lack(self, turn: Turn, job: LiveJob, thing: Thing, failure: Failure) -> None:
        """Believe a node that it lacks a thing: it gets no such jobs for a while, and this one waits, unharmed.

        Without end it cannot go on: each further refusal doubles the while, and placements are bounded (`take_back`).
        """
        node = self.cluster.nodes.get(job.node or "")
        reason = f"{failure.kind} on {job.node}: {failure.message}"
        logger.warning("job %s attempt %d was refused: %s", job.id, job.attempts, reason)
        if node is not None:
            node.refusals.note(thing, failure.message, turn.now)
            job.unfit_nodes |= {node.name}
        self.take_back(turn, job, reason, failed=failure.kind, counts=False)
        if node is not None:
            self.take_back_queued(
                turn,
                node,
                f"node {node.name} lacks the {thing.kind}",
                only=lambda other: lack(self.cluster, node, other.needs, turn.now) == thing,
            )

    def _carry_out(self, turn: Turn, job: LiveJob, finding: Finding) -> None:
        def is_alike(other: LiveJob) -> bool:
            return other.needs.outfit == job.needs.outfit

        for forgiven in map(self.jobs.get, sorted(finding.forgiven - {job.id})):
            if forgiven is not None:
                forgiven.failures = max(forgiven.failures - 1, 0)
                turn.move_job(forgiven)
        for node in finding.opened:
            self.take_back_queued(turn, node, f"node {node.name} fails such jobs", only=is_alike)
        for node in (*finding.opened, *finding.closed):
            turn.save_node(node.name, node.note)

    def _wait(self, job: LiveJob) -> None:
        job.work_s = self.cluster.estimates.fleet_generation_s(job.needs.outfit, job.units, job.request.n)
        job.order = self._order(job)
        self.waiting.push(job)

    def _order(self, job: LiveJob) -> OrderKey:
        return order_key(
            job=job.id,
            priority=int(job.priority),
            predicted_work_s=job.work_s,
            arrival_s=job.created_at,
            ageing=self.settings.ageing,
        )


def _lacking(job: LiveJob, failure: Failure) -> Thing | None:
    """Return what a job was refused for lack of; None if that is not why, or it never needed what the node names."""
    lacks, needs = failure.lacks, job.needs
    if lacks is not None and lacks.name in (needs.adapters if lacks.kind == "adapter" else (needs.model,)):
        return Thing("adapter" if lacks.kind == "adapter" else "model", lacks.name)
    return Thing("model", needs.outfit) if failure.kind is FailureKind.MODEL_MISSING else None
