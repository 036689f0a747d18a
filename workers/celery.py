"""A node as a Celery app: `celery -A workers worker -Q node.<name> -n <name>@%h -P threads -c 1`."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import bootsteps
from celery.exceptions import Reject
from celery.signals import celeryd_init, worker_init, worker_shutdown, worker_shutting_down
from kombu.exceptions import ChannelError, OperationalError
from kombu.messaging import Consumer
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from broker_config.app import make_app
from broker_config.broker_errors import HOPELESS, broker_error
from broker_config.calls import Generate, Withdraw
from broker_config.errors import BrokerUnavailableError, ConfigurationError, LadleError
from broker_config.log_records import make_log_unforgeable
from broker_config.metrics import serve_metrics
from broker_config.settings import load_settings_or_exit
from broker_config.topology import control_queue, node_key, node_queue
from broker_config.tracing import TRACEPARENT, start_tracing
from workers.assembly import make_node
from workers.node import NodeWorker

logger = logging.getLogger(__name__)

SAME_NAME_WAIT_S = 3.0

make_log_unforgeable()
settings = load_settings_or_exit("ladle worker")
app = make_app("workers", settings, queues=[], include=[])
app.conf.worker_pool = "threads"
app.conf.worker_concurrency = 1

_node: NodeWorker | None = None


def node() -> NodeWorker:
    """Return the node of this process; there is one while a worker runs."""
    if _node is None:
        raise RuntimeError("no node in this process: it is made when a worker starts")
    return _node


@app.task(bind=True, name=Generate.TASK, shared=False)
def generate(task: Any, **call: Any) -> None:
    """Draw the images of one `assignment` and send its outcome, then acknowledge."""
    headers = task.request.headers or {}
    deliveries = int(headers.get("x-delivery-count") or 0)
    try:
        try:
            assignment = Generate.read(call).assignment
        except (ValidationError, TypeError, KeyError) as exc:
            node().bury(task.request.id, f"malformed assignment: {exc}")
        else:
            node().run(assignment, deliveries, headers.get(TRACEPARENT))
    except BrokerUnavailableError as exc:
        logger.error("%s", exc)
        raise Reject(str(exc), requeue=True) from exc


@celeryd_init.connect
def _declare_node_queue(sender: str, options: dict[str, Any], **_: Any) -> None:
    """Make `-Q node.<name>` known to Celery: the one queue of this node."""
    try:
        name = _node_name(options.get("queues"))
    except ConfigurationError as exc:
        raise SystemExit(f"ladle worker: {exc}") from exc
    app.conf.task_queues = [node_queue(name)]


def _node_name(queues: Any) -> str:
    names = queues.split(",") if isinstance(queues, str) else list(queues or ())
    if len(names) != 1 or not names[0].startswith("node."):
        raise ConfigurationError(
            f"a worker consumes its node's one queue, not {', '.join(names) or 'none'}: start it with -Q node.<name>"
        )
    return str(names[0]).removeprefix("node.")


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    global _node
    if sender.app is not app:  # the signal comes for every worker of the process
        return
    name = app.conf.task_queues[0].name.removeprefix("node.")
    try:
        _refuse_second(name)
        registry = CollectorRegistry()
        _node = make_node(name, settings, app, registry)
        serve_metrics(settings, registry)
        start_tracing(settings, "ladle-worker")
    except LadleError as exc:
        raise SystemExit(f"ladle worker: {exc}") from exc
    except Exception as exc:  # Celery would log it and start without a node
        logger.exception("node %s cannot start", name)
        raise SystemExit(f"ladle worker: node {name} cannot start: {type(exc).__name__}: {exc}") from exc


def _refuse_second(name: str) -> None:
    """Refuse to start while another worker consumes this node's queue.

    Raises:
        ConfigurationError: another worker of this name is alive.
    """
    give_up = time.monotonic() + SAME_NAME_WAIT_S
    while consumers_of(name):
        if time.monotonic() > give_up:
            raise ConfigurationError(
                f"another worker serves node {name!r}: stop it, or choose another name (-Q {node_key('<name>')})"
            )
        time.sleep(0.5)


def consumers_of(name: str) -> int:
    """Return how many workers consume the queue of node `name`, waiting for the broker if it is away.

    Raises:
        BrokerRefusedError: the broker refuses this user, or the queue is not there and it may not declare it.
        BrokerUntrustedError: its certificate is not one to trust.
    """

    def wait(exc: Exception, _pause_s: float) -> None:
        if isinstance(exc, HOPELESS):
            raise exc
        logger.error("no broker yet: %s", exc)

    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(wait)
            with connection.channel() as channel:
                declared = node_queue(name)(channel)
                declared.declare()
                return int(declared.queue_declare(passive=True).consumer_count)
        except (*HOPELESS, OperationalError, ChannelError) as exc:
            raise broker_error(connection.as_uri(), exc) from exc


@worker_shutting_down.connect
def _begin_shutdown(**_: Any) -> None:
    if _node is not None:
        _node.begin_shutdown()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    if _node is not None:
        _node.end()


class Reports(bootsteps.StartStopStep):
    """Starts the heartbeat once the worker consumes its queue."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, _consumer: Any) -> None:
        """Begin to report; a consumer that reconnects finds the thread running."""
        if not node().reporter.is_alive():
            node().reporter.start()


class Control(bootsteps.ConsumerStep):
    """Listens for withdrawn attempts while the pool draws.

    Source: https://docs.celeryq.dev/en/stable/userguide/extending.html
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """Consume this worker's control queue."""
        queue = control_queue(node().name)
        return [Consumer(channel, queues=[queue], callbacks=[self._on_message], no_ack=True, accept=["json"])]

    def _on_message(self, body: Any, _message: Any) -> None:
        try:
            node().withdraw(Withdraw.read(body))
        except (TypeError, KeyError, ValueError):
            logger.warning("ignored a malformed control message")


app.steps["consumer"].update({Reports, Control})
