"""The planner as a Celery app: `celery -A planner worker -Q planner,admin,outcomes,dead -P threads -c 1`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from celery import bootsteps
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from prometheus_client import CollectorRegistry

from broker_config.app import make_app
from broker_config.calls import (
    Cancel,
    Drain,
    Reconcile,
    Record,
    RecordDeadLetter,
    Remove,
    Report,
    SetPriority,
    Submit,
)
from broker_config.errors import LadleError
from broker_config.log_records import make_log_unforgeable
from broker_config.metrics import serve_metrics
from broker_config.publisher import Publisher
from broker_config.settings import load_settings_or_exit
from broker_config.topology import PLANNER_QUEUES
from broker_config.tracing import start_tracing
from planner.inbox.authorship import Received
from planner.inbox.batch import BatchTask
from planner.ledger.ledger import Ledger
from planner.metrics import PlannerCounts, PlannerPicture
from planner.serving.placers import make_placer
from planner.store import Store
from planner.traces import record_spans
from planner.turns import intake, priorities, recorder, watch
from planner.turns.core import Planner
from planner.turns.endings import Endings
from planner.turns.watchdog import Watchdog

logger = logging.getLogger(__name__)

MESSAGES_AT_ONCE = 128  # unacknowledged, hence the largest batch: one transaction for all of them
TICK_S = 1.0
TURN_BUDGET_S = 20.0  # the largest batch takes a second or two

make_log_unforgeable()
settings = load_settings_or_exit("ladle planner")
app = make_app("planner", settings, queues=PLANNER_QUEUES, include=[], prefetch=MESSAGES_AT_ONCE)
app.conf.worker_pool = "threads"
app.conf.worker_concurrency = 1


class Running:
    """The parts of a running planner process, created when its worker starts."""

    def __init__(self) -> None:
        self.ledger = Ledger(settings.database)
        self.ledger.migrate()
        self.store = Store(settings.store, inline_mib=settings.message_limit_mib)
        self.publisher = Publisher(app, confirm_timeout_s=settings.confirm_timeout_s)
        registry = CollectorRegistry()
        self.planner = Planner(
            settings,
            self.ledger,
            self.publisher,
            make_placer(settings),
            watchdog=Watchdog("a turn of the planner", TURN_BUDGET_S),
            after_commit=(PlannerCounts(registry).count, record_spans),
        )
        registry.register(PlannerPicture(self.planner))
        serve_metrics(settings, registry)
        start_tracing(settings, "ladle-planner")


_running: Running | None = None


def running() -> Running:
    """Return the parts of this process, created at the first call."""
    global _running
    if _running is None:
        _running = Running()
    return _running


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    if sender.app is not app:  # the signal comes for every worker of the process
        return
    try:
        running()
    except LadleError as exc:
        raise SystemExit(f"ladle planner: {exc}") from exc


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """End within the grace time, whatever a turn computes: what is not committed is done by the next planner."""
    BatchTask.stopping.set()
    timer = threading.Timer(settings.grace_s, _end_now)
    timer.daemon = True
    timer.start()
    worker_shutdown.connect(lambda **_: timer.cancel(), weak=False)


def _end_now() -> None:
    logger.critical("did not end within LADLE_GRACE_S=%g s; ended at once", settings.grace_s)
    os._exit(1)


def _bury(letter: RecordDeadLetter) -> None:
    recorder.record_dead_letters(running().planner, [letter])


BatchTask.bury = staticmethod(_bury)


class Tick(bootsteps.StartStopStep):
    """Calls `watch.tick` once a second, in the same pool thread as the tasks.

    Source: https://docs.celeryq.dev/en/stable/userguide/extending.html
    """

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def start(self, worker: Any) -> None:
        """Start the timer."""
        self._is_idle = True
        self._timer = worker.timer.call_repeatedly(TICK_S, self._begin, (worker.pool,))

    def stop(self, _worker: Any) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _begin(self, pool: Any) -> None:
        if self._is_idle:  # during an outage ticks are skipped; they would pile up
            self._is_idle = False
            pool.apply_async(self._tick)

    def _tick(self) -> None:
        try:
            watch.tick(running().planner)
        except LadleError as exc:
            logger.error("%s", exc)
        except Exception:  # the pool would swallow it
            logger.exception("a tick failed")
        finally:
            self._is_idle = True


app.steps["worker"].add(Tick)


Calls = Sequence[Received]


@app.task(base=BatchTask, name=Submit.TASK, shared=False)
def submit(calls: Calls) -> None:
    """Accept new jobs."""
    asked = [(job, call.held_to) for call in calls for job in Submit.read(call.body).jobs]
    intake.submit(running().planner, running().store, asked)


@app.task(base=BatchTask, name=Cancel.TASK, shared=False)
def cancel(calls: Calls) -> None:
    """Cancel jobs."""
    asked = [(job, call.held_to) for call in calls for job in Cancel.read(call.body).jobs]
    intake.cancel(running().planner, asked)


@app.task(base=BatchTask, name=SetPriority.TASK, shared=False)
def set_priority(calls: Calls) -> None:
    """Change the priority of WAITING jobs."""
    for call in calls:
        priorities.set_priority(running().planner, SetPriority.read(call.body), call.held_to)


@app.task(base=BatchTask, name=Reconcile.TASK, shared=False)
def reconcile(calls: Calls) -> None:
    """Tell clients where their jobs are."""
    endings = Endings(running().store, settings.gateway_users)
    for call in calls:
        question = Reconcile.read(call.body)
        intake.reconcile(running().planner, endings, question.client, question.jobs, call.held_to)


@app.task(base=BatchTask, name=Drain.TASK, shared=False)
def drain(calls: Calls) -> None:
    """Drain nodes, or end their drain."""
    for call in calls:
        watch.drain(running().planner, Drain.read(call.body))


@app.task(base=BatchTask, name=Remove.TASK, shared=False)
def remove(calls: Calls) -> None:
    """Remove nodes."""
    for call in calls:
        watch.remove(running().planner, Remove.read(call.body).node)


@app.task(base=BatchTask, name=Record.TASK, shared=False)
def record(calls: Calls) -> None:
    """Record outcomes."""
    recorder.record(running().planner, running().store, [Record.read(call.body).outcome for call in calls])


@app.task(base=BatchTask, name=Report.TASK, shared=False)
def report(calls: Calls) -> None:
    """Take heartbeats."""
    watch.report(running().planner, running().store, [Report.read(call.body).report for call in calls])


@app.task(base=BatchTask, name=RecordDeadLetter.TASK, shared=False)
def record_dead_letter(calls: Calls) -> None:
    """Keep dead letters, wrapped by a consumer's guard."""
    recorder.record_dead_letters(running().planner, [RecordDeadLetter.read(call.body) for call in calls])
