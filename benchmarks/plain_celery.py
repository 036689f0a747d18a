"""The rival of `queue_overhead.py` and `gateway.py`: plain Celery, one quorum queue, nothing of Ladle's.

Publisher confirms, late acknowledgement, prefetch 1; results go where `PLAIN_RESULTS` says: a database, as durable as
Ladle's ledger, or `rpc://`, a transient message to the client. Workers: `celery -A plain_celery worker`.
"""

from __future__ import annotations

import base64
import io
import os
import time

from celery import Celery
from kombu.entity import Exchange, Queue
from PIL import Image

from broker_config.sqlite import transport as sqlite_transport

QUEUE = Queue("plain", Exchange("plain", type="topic"), routing_key="plain", queue_arguments={"x-queue-type": "quorum"})


def _picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "png")
    return base64.b64encode(out.getvalue()).decode()


PICTURE = _picture()


def make_app(broker: str, results: str) -> Celery:
    """Return the app; on an embedded broker it uses Ladle's SQLite transport, as Ladle does."""
    is_embedded = broker.startswith(sqlite_transport.SCHEME)
    if is_embedded:
        sqlite_transport.register()
    app = Celery("plain_celery", broker=broker, backend=results, set_as_current=False)
    app.conf.update(
        task_queues=[QUEUE],
        task_default_queue=QUEUE.name,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={} if is_embedded else {"confirm_publish": True, "confirm_timeout": 10},
        broker_connection_retry_on_startup=True,
        control_queue_exclusive=False,
        control_queue_durable=True,
    )
    app.task(noop, name="plain.noop")
    app.task(draw, name="plain.draw")
    return app


def noop() -> float:
    """Return the moment it started, on this machine's monotonic clock."""
    return time.monotonic()


def draw(**_fields: object) -> str:
    """Return a PNG as base64, as small as that of Ladle's no-op engine."""
    return PICTURE


if "PLAIN_BROKER" in os.environ:
    app = make_app(os.environ["PLAIN_BROKER"], os.environ["PLAIN_RESULTS"])
