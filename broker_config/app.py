"""One way to make a Celery app: the settings that proved reliable, for planner, workers and trainer alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.entity import Queue

from broker_config.frames import tolerant_frame_handler
from broker_config.log_format import set_log_format
from broker_config.rights import owner_of
from broker_config.settings import Settings
from broker_config.sqlite import transport as sqlite_transport
from broker_config.tls import tls_options
from broker_config.topology import PLANNER_DELIVERIES, UNLIMITED_DELIVERIES

BROKER_HEARTBEAT_S = 15
OWN_DELIVERY_LIMITS = {"^(planner|outcomes)$": PLANNER_DELIVERIES, "^dead$": UNLIMITED_DELIVERIES}


def make_app(
    name: str, settings: Settings, *, queues: Sequence[Queue], include: Sequence[str], prefetch: int = 1, **conf: Any
) -> Celery:
    """Return a Celery app on the broker of `settings`.

    Args:
        name: main name of the app.
        settings: where the broker is.
        queues: queues a worker of this app consumes when `-Q` names none.
        include: modules with the app's tasks.
        prefetch: messages a worker holds unacknowledged; 1 for nodes, more for the planner, which works in batches.
        **conf: further Celery settings.

    Source: https://docs.celeryq.dev/en/stable/userguide/configuration.html
    """
    set_log_format(settings)
    sqlite_transport.register()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    is_restricted = owner_of(settings.broker) is not None  # may not declare what remote control and task events need
    app = Celery(name, broker=settings.broker, include=list(include), set_as_current=False)
    app.conf.update(
        task_queues=list(queues),
        task_default_queue=queues[0].name if queues else None,
        task_create_missing_queues=False,
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=False,
        worker_prefetch_multiplier=prefetch,
        worker_consumer="broker_config.consumer:GuardedConsumer",
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_use_ssl=tls_options(settings),
        broker_heartbeat=BROKER_HEARTBEAT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(settings),
        worker_enable_remote_control=not is_restricted,
        worker_send_task_events=settings.task_events and not is_restricted,
        control_queue_exclusive=False,
        control_queue_durable=True,
        event_queue_exclusive=False,
        event_queue_durable=True,
        **conf,
    )
    return app


def transport_options(settings: Settings) -> dict[str, Any]:
    """Return kombu's transport options for the broker of `settings`."""
    if settings.is_embedded:
        return {"delivery_limit": settings.delivery_limit, "delivery_limits": OWN_DELIVERY_LIMITS}
    # No confirms: Celery's own events would wait for them without a limit, in the thread that keeps the connection
    # alive. What matters is sent by a `Publisher`.
    return {"write_timeout": settings.confirm_timeout_s, "frame_handler": tolerant_frame_handler}
