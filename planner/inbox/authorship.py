"""Checks that a message stays within its sender's rights: the planner's own check behind the broker's.

RabbitMQ limits every user to certain exchanges and routing keys (`broker_config.rights`), but does not look into
messages. So each message is compared with its routing key here: on `ladle.jobs` the key is the task, on
`ladle.outcomes` and `ladle.dead` it names the node or queue that the message may speak for. Whose a message on
`ladle.jobs` is, RabbitMQ vouches for by the property `user_id`: it takes no message that names another user than its
sender, and nothing that it does later with the message (dead-lettering, bindings of exchanges) changes that.

Source: https://www.rabbitmq.com/docs/validated-user-id
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_config.calls import TO_PLANNER, clients_named_in
from broker_config.rights import held_to
from broker_config.topology import JOBS


@dataclass(frozen=True)
class Received:
    """The body of a call that reached the planner.

    Attributes:
        held_to: the owner whose clients and jobs alone it may name; None where the broker knows no users, or its
            sender has all rights.
    """

    body: Mapping[str, Any]
    held_to: str | None = None


def overreach(
    exchange: str, routing_key: str, task: str, kwargs: Mapping[str, Any], user: str | None = None
) -> str | None:
    """Return how a call of `task` exceeds what its sender may ask for; None if it does not.

    Args:
        exchange: where it was published.
        routing_key: likewise.
        task: that it calls.
        kwargs: its body.
        user: who sent it, as the broker vouches; empty if it does not say; None where the broker knows no users.
    """
    call = TO_PLANNER.get(task)
    if call is None or exchange != call.EXCHANGE.name or routing_key != call.key_of(kwargs):
        return f"forged or misrouted: {task} came under key {routing_key!r} of {exchange!r}, which is not its own"
    if exchange != JOBS.name or user is None:
        return None
    if not user:
        return "says not whose it is: publish with the AMQP property user_id, the name of the broker's user"
    owner = held_to(user)
    strangers = [] if owner is None else [c for c in clients_named_in(task, kwargs) if not c.startswith(f"{owner}.")]
    if strangers:
        return f"forged: user {user} names client {strangers[0][:60]!r}, but its own begin with '{owner}.'"
    return None
