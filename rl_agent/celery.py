"""Retraining as a Celery app: `celery -A rl_agent worker -Q train -P threads -c 1 -B`.

The beat sends `rl_agent.retrain` every `LADLE_RETRAIN_EVERY_S`. If a round is killed, the broker redelivers its
message, or the beat sends the next one; either way the round resumes from its checkpoint.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from celery.signals import beat_embedded_init, worker_init, worker_shutting_down

from broker_config.app import make_app
from broker_config.calls import Retrain
from broker_config.errors import LadleError, NotInstalledError
from broker_config.extras import check_installed
from broker_config.log_records import make_log_unforgeable
from broker_config.settings import load_settings
from broker_config.topology import TRAIN_QUEUE
from rl_agent.errors import RetrainingError
from rl_agent.retraining.plan import NICENESS, RetrainingPlan

logger = logging.getLogger(__name__)

ORPHAN_CHECK_S = 0.5
"""How long a beat may outlive its worker; the next worker starts a beat of its own."""

_stopping = threading.Event()
make_log_unforgeable()
settings = load_settings()
app = make_app("rl_agent", settings, queues=[TRAIN_QUEUE], include=[])
app.conf.worker_pool = "threads"
app.conf.worker_concurrency = 1
app.conf.beat_schedule_filename = str(settings.data_dir / "retraining-beat")
app.conf.beat_schedule = {
    "retrain": {
        "task": Retrain.TASK,
        "schedule": settings.retrain_every_s,
        "options": {
            "exchange": Retrain.EXCHANGE.name,
            "routing_key": Retrain.key_of({}),
            "expires": settings.retrain_every_s,
        },
    }
}


@worker_init.connect
def _begin(sender: Any, **_: Any) -> None:
    """Leave the machine to others; end where nothing could be learnt."""
    if sender.app is not app:  # the signal comes for every worker of the process
        return
    try:
        check_installed("train", "the trainer")
    except NotInstalledError as exc:
        raise SystemExit(f"ladle retrain: {exc}") from exc
    os.nice(NICENESS)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """End the running round, for which SIGTERM would wait; the next one resumes from the checkpoint."""
    _stopping.set()


def _stop_when_told(_what: str, _share: float) -> None:
    if _stopping.is_set():
        raise RetrainingError("the worker stops: the next round resumes from the checkpoint")


@beat_embedded_init.connect
def _end_with_the_worker(**_: Any) -> None:
    """End the beat's process when its worker is killed; it would otherwise run on beside the next worker's beat."""
    worker = os.getppid()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(ORPHAN_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, name="ladle-watch", daemon=True).start()


@app.task(name=Retrain.TASK, shared=False)
def retrain() -> None:
    """Do one round of retraining."""
    from rl_agent.retraining.retrainer import Retrainer  # torch, only where it is used

    plan = RetrainingPlan(seconds=settings.retrain_seconds)
    try:
        outcome = Retrainer(settings, plan, _stop_when_told).run()
    except LadleError as exc:
        logger.error("%s", exc)
        return
    logger.info("retraining: %s", outcome.reason)
