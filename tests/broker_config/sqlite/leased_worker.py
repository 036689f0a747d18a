"""App of a real Celery worker process for the tests; TEST_BROKER_URL and TEST_OUTPUT say where things are.

Each run of a task appends a line to the output file: kind, token, ``x-delivery-count``, process id.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery
from kombu import Exchange, Queue

from broker_config.sqlite import transport as sqlite_transport

JOBS = Exchange("ladle.jobs", type="topic")
sqlite_transport.register()
app = Celery("leased", set_as_current=False)
app.conf.update(
    broker_url=os.environ["TEST_BROKER_URL"],
    task_queues=[Queue("planner", JOBS, routing_key="#")],
    task_create_missing_queues=False,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_consumer="broker_config.consumer:GuardedConsumer",
    broker_connection_retry_on_startup=True,
)


def _note(task, kind, token):
    line = f"{kind} {token} {(task.request.headers or {}).get('x-delivery-count')} {os.getpid()}\n"
    with Path(os.environ["TEST_OUTPUT"]).open("a") as output:
        output.write(line)


@app.task(bind=True, name="work")
def work(self, token, seconds=0.0):
    """Note the start, take a while, note the end."""
    _note(self, "start", token)
    time.sleep(seconds)
    _note(self, "end", token)
