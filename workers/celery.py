"""A node as a Celery app: `celery -A workers worker -Q node.<name> -n <name>@%h -P threads -c 1`."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import bootsteps
from celery.exceptions import Reject
from celery.signals import celeryd_init, worker_init, worker_shutdown, worker_shutting_down
from kombu.messaging import Consumer

from broker_config.app import make_app
from broker_config.errors import BrokerUnavailableError, ConfigurationError, LadleError
from broker_config.messages import Assignment
from broker_config.publisher import Publisher
from broker_config.settings import Settings, load_settings
from broker_config.topology import control_queue, node_key, node_queue
from workers.done_ledger import DoneLedger
from workers.emulated import EmulatedEngine, EmulatedSpeed, SlowedEngine, parse_drift
from workers.image_store import ImageStore
from workers.images import ImageEngine
from workers.node import Node
from workers.warm_up import warm_up

logger = logging.getLogger(__name__)

SAME_NAME_WAIT_S = 10.0

settings = load_settings()
app = make_app("workers", settings, queues=[], include=[])
app.conf.worker_pool = "threads"
app.conf.worker_concurrency = 1

_node: Node | None = None


def node() -> Node:
    """Return the node of this process; there is one while a worker runs."""
    if _node is None:
        raise RuntimeError("no node in this process: it is made when a worker starts")
    return _node


@app.task(bind=True, name="workers.generate")
def generate(task: Any, assignment: dict[str, Any]) -> None:
    """Draw the images of one assignment and send its outcome, then acknowledge."""
    deliveries = int((task.request.headers or {}).get("x-delivery-count") or 0)
    try:
        node().run(Assignment(**assignment), deliveries)
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
    name = app.conf.task_queues[0].name.removeprefix("node.")
    try:
        _refuse_second(name)
        _node = make_node(name, settings)
    except LadleError as exc:
        raise SystemExit(f"ladle worker: {exc}") from exc


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
    """Return how many workers consume the queue of node `name`, waiting for the broker if it is away."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(lambda exc, pause_s: logger.error("no broker yet: %s", exc))
        with connection.channel() as channel:
            declared = node_queue(name)(channel)
            declared.declare()
            return int(declared.queue_declare(passive=True).consumer_count)


def make_engine(settings: Settings) -> tuple[ImageEngine, str]:
    """Return the engine the settings name, and what about it is emulated."""
    engine: ImageEngine
    if settings.engine == "emulated":
        speed = EmulatedSpeed(
            s_per_unit=settings.emulated_s_per_unit,
            load_s=settings.emulated_load_s,
            drift=parse_drift(settings.emulated_drift),
            time_scale=settings.time_scale,
            resident_models=settings.resident_models,
        )
        return EmulatedEngine(speed), f"emulated engine, {speed.s_per_unit:g} s per megapixel step"
    from workers.pipelines import DiffusersEngine, PipelineOptions

    engine = DiffusersEngine(
        PipelineOptions(
            device=settings.device,
            dtype=settings.dtype,
            drop_t5=settings.drop_t5,
            adapters_folder=settings.adapters_folder or None,
            resident_models=settings.resident_models,
            layerwise_fp8=settings.layerwise_fp8,
            group_offload=settings.group_offload,
            int8_weights=settings.int8_weights,
            vae_tiling=settings.vae_tiling,
            memory_limit_mib=settings.memory_limit_mib or None,
        )
    )
    if settings.emulated_slowdown > 1:
        return SlowedEngine(engine, settings.emulated_slowdown), f"emulated slowdown x{settings.emulated_slowdown:g}"
    return engine, ""


def make_node(name: str, settings: Settings) -> Node:
    """Load the models, measure them, and return the node."""
    engine, emulated = make_engine(settings)
    speeds, problems = warm_up(engine, settings.node_models)
    for problem in problems:
        logger.error("node %s: %s", name, problem)
    return Node(
        name=name,
        settings=settings,
        engine=engine,
        publisher=Publisher(app, confirm_timeout_s=settings.confirm_timeout_s),
        reporter_publisher=Publisher(app, confirm_timeout_s=settings.confirm_timeout_s),
        done=DoneLedger(settings.data_dir / f"done-{name}.db"),
        store=ImageStore(settings.store, inline_mib=settings.message_limit_mib),
        speeds=speeds,
        problems=problems,
        emulated=emulated,
    )


@worker_shutting_down.connect
def _begin_shutdown(**_: Any) -> None:
    node().begin_shutdown()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    node().end()


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
            node().withdraw([(str(job), int(attempt)) for job, attempt in body["withdraw"]])
        except (TypeError, KeyError, ValueError):
            logger.warning("ignored a malformed control message")


app.steps["consumer"].update({Reports, Control})
