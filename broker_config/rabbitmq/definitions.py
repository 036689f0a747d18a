"""What RabbitMQ must know beyond the declarations: limits and dead-lettering as policies, and a consumer timeout.

The same data go two ways: as a definitions file that RabbitMQ loads (`load_definitions`, `rabbitmqctl
import_definitions`), and as `rabbitmqctl set_policy` commands for a broker that is shared with others. Every key is
one that RabbitMQ 3.10 and 4.x both know. Users and permissions are in `users`.

Limits are policies and not queue arguments because a policy may change while queues and workers live.
Source: https://www.rabbitmq.com/docs/policies, https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
from kombu.entity import Queue

from broker_config.settings import Settings, load_settings
from broker_config.topology import (
    DEAD,
    DEAD_REQUEST,
    EXCHANGES,
    PLANNER_DELIVERIES,
    PLANNER_QUEUES,
    TRAIN_QUEUE,
    UNLIMITED_DELIVERIES,
)

CONSUMER_TIMEOUT_SLACK_S = 1800.0  # an assignment also stays unacknowledged while the model loads and the image is sent
TRAIN_MESSAGES = 1000  # the beat goes on while no trainer runs; one message is enough to start a round
TRANSIENT_BYTES = 512 * 2**20
NEWS_MS = 60_000
QUEUES = (*PLANNER_QUEUES, TRAIN_QUEUE)

# A message is removed from its queue only when the dead-letter queue has confirmed it; needs `reject-publish`.
AT_LEAST_ONCE = {"dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One RabbitMQ policy: `definition` holds for every queue whose name matches `pattern`."""

    name: str
    pattern: str
    definition: dict[str, Any]


def policies(settings: Settings) -> tuple[Policy, ...]:
    """Return the policies of Ladle's queues; no queue name matches two.

    A delivery limit of 3 means four executions. The routing key of a dead letter stays what it was, unless its sender
    may choose any: queue `dead` is bound to everything, and the message's `x-death` holds the queue's name and the key.
    """
    dead = {"dead-letter-exchange": DEAD.name, **AT_LEAST_ONCE}
    return (
        Policy(name="ladle-nodes", pattern=r"^node\.", definition={"delivery-limit": settings.delivery_limit, **dead}),
        # What a client had confirmed must outlive a broker that restarts often: a dead submission is a lost job.
        Policy(
            name="ladle-planner",
            pattern=r"^(admin|outcomes|site\.[^.]+)$",
            definition={"delivery-limit": PLANNER_DELIVERIES, **dead},
        ),
        # A client may bind exchanges of its own to `ladle.jobs`, where no right binds it to a routing key.
        Policy(
            name="ladle-requests",
            pattern="^planner$",
            definition={"delivery-limit": PLANNER_DELIVERIES, **dead, "dead-letter-routing-key": DEAD_REQUEST},
        ),
        # The end of the line: without this, 4.x drops a dead letter at its twentieth delivery.
        Policy(name="ladle-dead", pattern="^dead$", definition={"delivery-limit": UNLIMITED_DELIVERIES}),
        Policy(
            name="ladle-train",
            pattern="^train$",
            definition={"delivery-limit": PLANNER_DELIVERIES, "max-length": TRAIN_MESSAGES, "overflow": "drop-head"},
        ),
        # Events may be lost, and a client that stopped reading must not fill the broker's memory.
        Policy(
            name="ladle-transient",
            pattern=r"^(client|control)\.",
            definition={"max-length-bytes": TRANSIENT_BYTES, "overflow": "drop-head"},
        ),
        # What the link of a site could not carry in time (`site`): nodes report again, and clients ask again.
        Policy(
            name="ladle-news",
            pattern=r"\.news$",
            definition={"message-ttl": NEWS_MS, "max-length-bytes": TRANSIENT_BYTES, "overflow": "drop-head"},
        ),
    )


def consumer_timeout_ms(settings: Settings) -> int:
    """Return the node-wide `consumer_timeout`: a job that takes longer loses its channel and runs again.

    RabbitMQ's own default is half an hour.
    Source: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
    """
    return int((settings.attempt_limit_s + CONSUMER_TIMEOUT_SLACK_S) * 1000)


def structure(vhost: str, queues: Sequence[Queue] = QUEUES) -> dict[str, Any]:
    """Return all exchanges, these queues and their bindings as RabbitMQ exports and imports them.

    Node queues are not among the queues that every installation has: each worker declares its own, or `ladle node add`.
    """
    return {
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.type,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": False,
                "arguments": {},
            }
            for exchange in EXCHANGES
        ],
        "queues": [_queue_definition(queue, vhost) for queue in queues],
        "bindings": [
            {
                "source": exchange.name,
                "vhost": vhost,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": routing_key,
                "arguments": {},
            }
            for queue in queues
            for exchange, routing_key in _bindings_of(queue)
        ],
    }


def definitions(settings: Settings, vhost: str, queues: Sequence[Queue] = QUEUES) -> dict[str, Any]:
    """Return the definitions of `vhost`, without users: the virtual host itself, its structure, and the policies."""
    return {
        "vhosts": [{"name": vhost}],
        **structure(vhost, queues),
        "policies": [
            {
                "vhost": vhost,
                "name": policy.name,
                "pattern": policy.pattern,
                "apply-to": "queues",
                "priority": 0,
                "definition": policy.definition,
            }
            for policy in policies(settings)
        ],
    }


def definitions_json(settings: Settings, vhost: str) -> str:
    """Return the text of the definitions file."""
    return json.dumps(definitions(settings, vhost), indent=2) + "\n"


def commands(settings: Settings, vhost: str) -> list[list[str]]:
    """Return the `rabbitmqctl` commands, as argument lists, that set the policies of `vhost`."""
    return [
        [
            *("rabbitmqctl", "set_policy", "--vhost", vhost, "--apply-to", "queues"),
            *(policy.name, policy.pattern, json.dumps(policy.definition)),
        ]
        for policy in policies(settings)
    ]


def vhost_of(url: str) -> str:
    """Return the virtual host an AMQP URL names, `/` if it names none."""
    return unquote(urlsplit(url).path.removeprefix("/")) or "/"


def _queue_definition(queue: Queue, vhost: str) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": vhost,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "arguments": queue.as_dict()["queue_arguments"] or {},
    }


def _bindings_of(queue: Queue) -> list[tuple[Any, str]]:
    """Return exchange and routing key of each binding: kombu knows a queue's own exchange, or a list of bindings."""
    several = [(each.exchange, each.routing_key) for each in queue.bindings]
    return several or [(queue.exchange, queue.routing_key)]


@click.command("broker")
@click.option("--vhost", help="Virtual host; default: the one LADLE_BROKER_URL names, else /.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the definitions file there.")
def command(vhost: str | None, out: Path | None) -> None:
    """Print how to prepare RabbitMQ for Ladle.

    That is: delivery limits, dead letters, consumer timeout.

    Without this, Ladle runs, but RabbitMQ throws away what a queue gives up instead of keeping it as a dead letter,
    and a job that takes longer than half an hour runs again. Nothing is applied from here; do one of these:

    \b
    a broker you administer:   run the printed commands on its machine
    the same, as one file:     ladle broker --out ladle.json && rabbitmqctl import_definitions ladle.json
    a new broker:              put `load_definitions = .../ladle.json` and the printed line into rabbitmq.conf
                               (compose.yaml does that)

    Limits come from LADLE_DELIVERY_LIMIT and LADLE_ATTEMPT_LIMIT_S: run it again when you change them.
    """
    settings = load_settings()
    vhost = vhost or ("/" if settings.is_embedded else vhost_of(settings.broker_url))
    click.echo("# rabbitmq.conf, for the whole broker, milliseconds:")
    click.echo(f"# consumer_timeout = {consumer_timeout_ms(settings)}")
    if out is None:
        for arguments in commands(settings, vhost):
            click.echo(shlex.join(arguments))
    else:
        try:
            out.write_text(definitions_json(settings, vhost))
        except OSError as exc:
            raise click.ClickException(f"cannot write {out}: {exc.strerror}") from exc
        click.echo(f"# definitions of virtual host {vhost!r} are in {out}")
