"""The rival: plain Celery with one shared queue, prefetch 1 and late acknowledgement, no planner.

`celery -A workers.shared_queue worker -Q shared -n <name>@%h -P threads -c 1`, on every node the same queue. It is what
a user would run instead of Ladle; `ladle bench` measures both with the same engines.
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init
from prometheus_client import CollectorRegistry

from broker_config.app import make_app
from broker_config.calls import GenerateShared
from broker_config.log_records import make_log_unforgeable
from broker_config.messages import Assignment
from broker_config.settings import load_settings
from broker_config.topology import SHARED_QUEUE
from workers.assembly import make_node
from workers.node import NodeWorker

make_log_unforgeable()
settings = load_settings()
app = make_app("shared_queue", settings, queues=[SHARED_QUEUE], include=[])
app.conf.worker_pool = "threads"
app.conf.worker_concurrency = 1

_node: NodeWorker | None = None


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    global _node
    if sender.app is not app:  # the signal comes for every worker of the process
        return
    _node = make_node(sender.hostname.split("@", 1)[0], settings, app, CollectorRegistry())


@app.task(name=GenerateShared.TASK, shared=False)
def generate(assignment: dict[str, Any]) -> None:
    """Draw one assignment, on the node that took it."""
    if _node is None:
        raise RuntimeError("no node in this process: it is made when a worker starts")
    _node.run(Assignment(**assignment), 0)
