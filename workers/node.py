"""One node at work: runs attempts one at a time, and answers each with exactly one outcome."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from broker_config.calls import Generate, Record, RecordDeadLetter
from broker_config.hours import parse_hours
from broker_config.messages import (
    Assignment,
    AttemptKey,
    Failure,
    FailureKind,
    ImageRequest,
    ModelSpeed,
    NodeReport,
    Outcome,
    Timings,
)
from broker_config.publisher import Sender
from broker_config.settings import Settings
from broker_config.topology import node_key
from broker_config.tracing import StepEvents, message_attributes, span
from workers.done_ledger import DoneLedger
from workers.errors import WorkerError
from workers.idle import IdleUnload
from workers.image_store import ImageStore
from workers.images import GeneratedImages, ImageEngine
from workers.metrics import WorkerCounts
from workers.previews import encoded_preview
from workers.provenance import infotext, png_of
from workers.reporter import Reporter

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

WITHDRAWN_KEPT = 4096  # newest keys: a node holds a window of attempts, so older ones can no longer arrive


class Stopped(Exception):  # a signal, not an error
    """Raised in the step callback to end a generation; `result` says how the outcome calls it."""

    def __init__(self, result: Literal["cancelled", "returned", "failed"], failure: Failure | None = None) -> None:
        super().__init__(result, failure)
        self.result = result
        self.failure = failure


class NodeWorker:
    """The state of one worker process.

    Args:
        name: the node's name.
        settings: limits and reporting interval.
        engine: makes the images.
        publisher: for outcomes.
        reporter_publisher: for heartbeats and progress.
        done: what was finished here before.
        store: takes images that are too large for a message.
        speeds: measured while warming up; empty with `problems` means that the node is unfit.
        problems: sentences about models that do not work.
        counts: of what it does.
        now: tells the time of day in the node's time zone.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        engine: ImageEngine,
        publisher: Sender,
        reporter_publisher: Sender,
        done: DoneLedger,
        store: ImageStore,
        speeds: dict[str, ModelSpeed],
        problems: list[str],
        counts: WorkerCounts,
        emulated: str = "",
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.name = name
        self.reporter = Reporter(reporter_publisher, self.report, settings.heartbeat_s)
        self._settings = settings
        self._engine = engine
        self._publisher = publisher
        self._done = done
        self._store = store
        self._speeds = speeds
        self._problems = problems
        self._counts = counts
        self._emulated = emulated
        self._now = now
        self._instance = uuid.uuid4().hex
        self._wrote_token = store.introduce(name, self._instance)
        self._withdrawn: OrderedDict[AttemptKey, None] = OrderedDict()
        self._lock = threading.Lock()
        self._running: AttemptKey | None = None
        self._image_step, self._image_steps = 0, 0
        self._state: Literal["ready", "draining", "stopped", "unfit"] = "ready" if speeds or not problems else "unfit"
        self._give_back_at: float | None = None
        self._hours = parse_hours(settings.hours)
        self._idle = IdleUnload(settings.idle_unload_s, self._unload)

    def report(self) -> NodeReport:
        """Return the node's present report."""
        is_closed = self._state == "ready" and not self._is_open()
        closed = [f"begins jobs at {self._settings.hours} only (LADLE_HOURS)"] if is_closed else []
        return NodeReport(
            node=self.name,
            instance=self._instance,
            hostname=socket.gethostname(),
            state="draining" if is_closed else self._state,
            reason="; ".join([*self._problems, *closed]),
            device=self._settings.device,
            resident=self._engine.resident,
            resident_limit=self._settings.resident_models,
            models=tuple(self._speeds) if self._settings.only_these_models or self._problems else None,
            speeds=self._speeds,
            model_files=dict(self._engine.model_files),
            running=self._running,
            image_step=self._image_step,
            image_steps=self._image_steps,
            wrote_token=self._wrote_token,
            abilities=self._engine.abilities(),
            closes_in_s=self._hours.left_s(self._now()),
            emulated=self._emulated,
            interval_s=self._settings.heartbeat_s,
        )

    def withdraw(self, attempts: list[AttemptKey]) -> None:
        """Drop attempts: a running one stops at its next image step, a queued one is answered without being drawn."""
        with self._lock:
            for key in attempts:
                self._withdrawn[key] = None
            while len(self._withdrawn) > WITHDRAWN_KEPT:
                self._withdrawn.popitem(last=False)

    def begin_shutdown(self) -> None:
        """Take nothing more; a running attempt may finish within the grace time, then it is given back."""
        self._state = "draining"
        self._give_back_at = time.monotonic() + self._settings.grace_s
        self.reporter.report_now()

    def end(self) -> None:
        """Say goodbye and close everything."""
        self._state = "stopped"
        self._idle.close()
        self.reporter.stop()
        self._publisher.close()
        self._done.close()

    def run(self, assignment: Assignment, earlier_deliveries: int, traceparent: str | None = None) -> None:
        """Answer one assignment with one outcome, confirmed by the broker.

        Args:
            assignment: what to draw.
            earlier_deliveries: how often the broker says that it has delivered this message before: each time, the
                process died. The node counts as well, since RabbitMQ 4.3 no longer counts what an acknowledgement
                timeout or a lost connection gave back.
            traceparent: context of the job's trace, if it is traced.

        Raises:
            BrokerUnavailableError: the outcome could not be sent; it is kept and sent when the message comes again.
        """
        stored = self._done.get(assignment.job, assignment.attempt)
        if stored is None:
            begun = self._done.begin(assignment.job, assignment.attempt)
            about = message_attributes(node_key(self.name), assignment.job, "process")
            traced = span(f"process {node_key(self.name)}", about, kind="consumer", parent=traceparent)
            with self._idle.busy(), traced:
                answer = self._outcome(assignment, max(earlier_deliveries, begun))
            outcome = answer.to_wire()
            self._done.put(assignment.job, assignment.attempt, outcome)
            self._counts.answered(answer)
        else:
            logger.info("job %s attempt %d was done here before", assignment.job, assignment.attempt)
            outcome = stored
        self._publisher.publish([Record(outcome).post(traceparent=traceparent)])

    def bury(self, task_id: str, reason: str) -> None:
        """Send an assignment that cannot be read to the dead letters, so that the planner fails its attempt.

        Raises:
            BrokerUnavailableError: it could not be sent.
        """
        logger.error("task %s goes to the dead letters: %s", task_id, reason)
        letter = RecordDeadLetter(
            reason=reason,
            queue=node_key(self.name),
            headers={"task": Generate.TASK, "id": task_id},
            content_type="application/json",
        )
        self._publisher.publish([letter.post()])

    def _outcome(self, assignment: Assignment, earlier_deliveries: int) -> Outcome:
        key = assignment.job, assignment.attempt
        if key in self._withdrawn:
            return self._failed(assignment, "cancelled")
        if earlier_deliveries > self._settings.delivery_limit:
            message = f"the worker process died {earlier_deliveries} times at this job"
            return self._failed(assignment, "failed", Failure(kind=FailureKind.WORKER_DIED, message=message))
        if not self._is_open():
            self.reporter.report_now()  # that its hours are over is perhaps not known yet
            return self._failed(assignment, "returned")
        self._running, self._image_step, self._image_steps = key, 0, 0
        try:
            return self._generate(assignment)
        except Stopped as exc:
            return self._failed(assignment, exc.result, exc.failure)
        except WorkerError as exc:
            failure = Failure(kind=FailureKind(exc.kind), message=str(exc), lacks=exc.lacks)
            return self._failed(assignment, "failed", failure)
        except Exception as exc:
            logger.exception("job %s failed", assignment.job)
            message = f"{type(exc).__name__}: {exc}"
            return self._failed(assignment, "failed", Failure(kind=FailureKind.INTERNAL, message=message))
        finally:
            self._running = None

    def _is_open(self) -> bool:
        return self._hours.are_open(self._now())

    def _unload(self) -> None:
        self._engine.unload()
        self.reporter.report_now()

    def _generate(self, assignment: Assignment) -> Outcome:
        request = assignment.request
        with span("load", {"ladle.model": request.model}):
            load_s = self._engine.load(request.model)
            adapters_load_s = self._engine.load_adapters(request.model, request.adapters or {})
        self.reporter.started(assignment.client, assignment.job, assignment.attempt, self.name, request.image_steps_run)
        started = time.monotonic()
        preview: str | None = None

        def on_preview(_image_step: int, picture: Image) -> None:
            nonlocal preview
            preview = encoded_preview(picture)

        def on_step(step: int, steps: int) -> None:
            nonlocal preview
            self._image_step, self._image_steps = step, steps
            self._counts.step()
            events.step(step, steps)
            self._check_may_go_on(assignment, started)
            key = assignment.client, assignment.job, assignment.attempt, self.name
            self.reporter.step(*key, step, steps, preview)
            preview = None

        asked: dict[str, Any] = {"on_preview": on_preview} if request.partial_images else {}
        with span("draw", {"ladle.model": request.model, "ladle.images": request.n}) as drawing:
            events = StepEvents(drawing)
            generated = self._engine.generate(request, on_step, **asked)
        drawn = time.monotonic()
        with span("send images", {}):
            images = self._store.put(assignment, self._encoded(request, generated))
        return Outcome(
            job=assignment.job,
            attempt=assignment.attempt,
            node=self.name,
            result="done",
            images=images,
            timings=Timings(
                load_s=load_s + adapters_load_s,
                generation_s=drawn - started,
                transfer_out_s=time.monotonic() - drawn,
            ),
            adapters_load_s=adapters_load_s,
            warnings=tuple(generated.warnings),
            resident=self._engine.resident,
        )

    def _encoded(self, request: ImageRequest, generated: GeneratedImages) -> list[tuple[int, bytes]]:
        """Return each image's seed and PNG bytes."""
        says = self._settings.provenance
        return [
            (seed, png_of(image, infotext(request, seed, generated.sampler) if says else ""))
            for image, seed in zip(generated.images, generated.seeds, strict=True)
        ]

    def _check_may_go_on(self, assignment: Assignment, started: float) -> None:
        now = time.monotonic()
        if (assignment.job, assignment.attempt) in self._withdrawn:
            raise Stopped("cancelled")
        if self._give_back_at is not None and now > self._give_back_at:
            raise Stopped("returned")
        if now - started > assignment.limit_s:
            message = f"took longer than {assignment.limit_s:g} s (LADLE_ATTEMPT_LIMIT_S)"
            raise Stopped("failed", Failure(kind=FailureKind.TIME_LIMIT, message=message))

    def _failed(
        self,
        assignment: Assignment,
        result: Literal["cancelled", "returned", "failed"],
        failure: Failure | None = None,
    ) -> Outcome:
        return Outcome(
            job=assignment.job,
            attempt=assignment.attempt,
            node=self.name,
            result=result,
            failure=failure,
            resident=self._engine.resident,
        )
