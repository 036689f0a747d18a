"""Exchanges, queues and routing keys: who talks to whom.

    exchange         routing key                   queue
    ladle.jobs       submit, cancel, ...           planner
    ladle.admin      admin.<verb>                  admin
    ladle.nodes      node.<name>                   node.<name>
    ladle.outcomes   outcome.<node>.<kind>         outcomes
    ladle.dead       dead.<queue>                  dead
    ladle.events     job.<client>.<kind>           client.<id>.<n>   transient, one per client connection
    ladle.events     progress.<node>.<client>      client.<id>.<n>
    ladle.control    node.<name>                   control.<name>
    ladle.train      train.<kind>                  train

Where it matters, the routing key names the publisher, so that the broker can hold a node to its own name (`rights`).
Orders have an exchange of their own: rights to keys do not bind what the broker itself routes (dead letters, alternate
exchanges, bindings of exchanges), rights to exchanges do.

Only `x-queue-type` (and the planner's single active consumer) stands in a declaration; limits and dead-lettering are
the broker's policy (`rabbitmq.policies`), because a changed argument would make RabbitMQ refuse the worker (406). What
exists is not declared again: most users may declare nothing. The transient queues are declared durable,
since RabbitMQ 4.3 refuses others that are not exclusive; they go with their last consumer, or by their expiry. A
node's two queues stay: a worker that may declare nothing must find them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.exceptions import AccessRefused, NotFound
from kombu.entity import Exchange, Queue, binding

from broker_config.bounds import NODE_NAME
from broker_config.errors import ConfigurationError


class _Exchange(Exchange):
    """An exchange that is declared only where it is missing, and by users who may declare it."""

    def declare(self, nowait: bool = False, passive: bool | None = None, channel: Any = None) -> None:
        channel = channel or self.channel
        if passive or not _finds(channel, lambda asking: Exchange.declare(self, passive=True, channel=asking)):
            Exchange.declare(self, nowait, passive, channel)


class _Queue(Queue):
    """A queue that is declared and bound only where it is missing."""

    def declare(self, nowait: bool = False, channel: Any = None) -> str:
        channel = channel or self.channel
        if not _finds(channel, lambda asking: self.queue_declare(passive=True, channel=asking)):
            Queue.declare(self, nowait, channel)
        return str(self.name)


def _finds(channel: Any, ask: Callable[[Any], object]) -> bool:
    """Whether the broker has what `ask` asks for, or would not let this user declare it anyway.

    It is asked over a channel of its own, which RabbitMQ closes where the answer is no. Since 4.2.6 RabbitMQ refuses
    the question itself to a user without rights to what it is about. Then declaring it is up to somebody else, and
    publishing or consuming will show whether it exists.

    Source: https://www.rabbitmq.com/docs/access-control#authorisation
    """
    with channel.connection.client.channel() as asking:
        try:
            ask(asking)
        except NotFound:
            return False
        except AccessRefused:
            return True
    return True


JOBS = _Exchange("ladle.jobs", type="topic", durable=True)
ADMIN = _Exchange("ladle.admin", type="topic", durable=True)
NODES = _Exchange("ladle.nodes", type="topic", durable=True)
OUTCOMES = _Exchange("ladle.outcomes", type="topic", durable=True)
DEAD = _Exchange("ladle.dead", type="topic", durable=True)
EVENTS = _Exchange("ladle.events", type="topic", durable=True)
CONTROL = _Exchange("ladle.control", type="topic", durable=True)
TRAIN = _Exchange("ladle.train", type="topic", durable=True)
EXCHANGES = (JOBS, ADMIN, NODES, OUTCOMES, DEAD, EVENTS, CONTROL, TRAIN)

QUORUM = {"x-queue-type": "quorum"}
ONE_READER = {**QUORUM, "x-single-active-consumer": True}
PLANNER_QUEUE = _Queue("planner", JOBS, routing_key="#", queue_arguments=ONE_READER, durable=True)
ADMIN_QUEUE = _Queue("admin", ADMIN, routing_key="#", queue_arguments=ONE_READER, durable=True)
OUTCOMES_QUEUE = _Queue("outcomes", OUTCOMES, routing_key="#", queue_arguments=ONE_READER, durable=True)
DEAD_QUEUE = _Queue("dead", DEAD, routing_key="#", queue_arguments=QUORUM, durable=True)
TRAIN_QUEUE = _Queue("train", TRAIN, routing_key="#", queue_arguments=QUORUM, durable=True)
SHARED_QUEUE = _Queue(
    "shared", NODES, routing_key="shared", queue_arguments=QUORUM, durable=True
)  # the rival's, in benches
PLANNER_QUEUES = (PLANNER_QUEUE, ADMIN_QUEUE, OUTCOMES_QUEUE, DEAD_QUEUE)

DEAD_REQUEST = "dead-request"
"""Key under which the broker dead-letters what is in queue `planner`, in place of those that its sender chose."""
PLANNER_DELIVERIES = 100  # broker restarts count as well: bad luck alone can reach 20, the default of 4.x
UNLIMITED_DELIVERIES = 1_000_000  # 3.10 refuses -1
CLIENT_QUEUE_EXPIRY_S = 600


def declare_exchanges(channel: Any) -> None:
    """Make sure that all exchanges are there, asking once for all of them."""

    def ask(asking: Any) -> None:
        for exchange in EXCHANGES:
            exchange(asking).declare(passive=True)

    if not _finds(channel, ask):
        for exchange in EXCHANGES:
            exchange(channel).declare()


def check_node_name(name: str) -> str:
    """Return `name` if it can be a node's name.

    Raises:
        ConfigurationError: it can not; dots would be read as levels of a routing key.
    """
    if not NODE_NAME.fullmatch(name):
        raise ConfigurationError(
            f"node name {name!r}: use 1-63 of a-z, 0-9, '-' and '_', beginning and ending with a letter or digit"
        )
    return name


def node_key(node: str) -> str:
    """Return the queue name and routing key of `node`."""
    return f"node.{node}"


def node_queue(node: str) -> Queue:
    """Return the one queue that `node` owns."""
    return _Queue(
        node_key(node), NODES, routing_key=node_key(check_node_name(node)), queue_arguments=QUORUM, durable=True
    )


def outcome_key(node: str, kind: str) -> str:
    """Return the routing key of what `node` answers: a result, or "report"."""
    return f"outcome.{node}.{kind}"


def progress_key(node: str, client: str) -> str:
    """Return the routing key of what `node` tells `client` about its running job."""
    return f"progress.{node}.{client}"


def node_of_progress(routing_key: str) -> str | None:
    """Return the node that sent an event; None when it is from the planner."""
    kind, _, rest = routing_key.partition(".")
    return rest.partition(".")[0] if kind == "progress" else None


def control_queue(node: str) -> Queue:
    """Return the queue on which the worker of `node` is told of withdrawn attempts; its messages expire."""
    return _Queue(f"control.{node}", CONTROL, routing_key=node_key(check_node_name(node)), durable=True)


def client_queue(client: str, connection: int) -> Queue:
    """Return the transient queue of a client's `connection`-th connection; a half-open older one is left to expire."""
    return Queue(
        f"client.{client}.{connection}",
        bindings=[binding(EVENTS, f"job.{client}.#"), binding(EVENTS, progress_key("*", client))],
        durable=True,
        auto_delete=True,
        expires=CLIENT_QUEUE_EXPIRY_S,
    )
