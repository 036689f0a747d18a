"""Checks that a message stays within its sender's rights: the planner's own check behind the broker's.

RabbitMQ limits every user to certain exchanges and routing keys (`broker_config.rights`), but does not look into
messages. So each message is compared with its routing key here: on `ladle.jobs` the key is the task, on
`ladle.outcomes` and `ladle.dead` it names the node or queue that the message may speak for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_config.calls import TO_PLANNER


def overreach(exchange: str, routing_key: str, task: str, kwargs: Mapping[str, Any]) -> str | None:
    """Return how a call of `task` exceeds what its routing key allows; None if it does not."""
    call = TO_PLANNER.get(task)
    if call is not None and exchange == call.EXCHANGE.name and routing_key == call.key_of(kwargs):
        return None
    return f"forged or misrouted: {task} came under key {routing_key!r} of exchange {exchange!r}, which is not its own"
