"""Messages on their way into and out of a broker file, and the death certificate of those that leave it otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PERSISTENT = 2  # AMQP delivery mode


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message to publish.

    Attributes:
        envelope: Content type, content encoding, headers, properties.
        mandatory: Whether it is an error when no queue takes it.
    """

    envelope: Mapping[str, Any]
    body: bytes
    exchange: str
    routing_key: str
    mandatory: bool = False

    @property
    def is_persistent(self) -> bool:
        """Whether it must survive a power cut."""
        return bool(self.envelope["properties"].get("delivery_mode") == PERSISTENT)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message handed to this connection.

    Attributes:
        id: Row, which is also the delivery tag.
        envelope: Content type, content encoding, headers, properties.
        body: As published.
        earlier_deliveries: 0 on the first delivery; the ``x-delivery-count`` of RabbitMQ's quorum queues.
    """

    id: int
    envelope: dict[str, Any]
    body: bytes
    earlier_deliveries: int


def certify(envelope: dict[str, Any], *, queue: str, reason: str, exchange: str) -> None:
    """Write into an envelope that its message died, and send it on to the dead-letter exchange.

    Args:
        envelope: Changed in place: ``x-death`` and ``x-first-death-*`` headers, no expiration any more.
        queue: Where it died.
        reason: ``rejected`` or ``delivery_limit``.
        exchange: The dead-letter exchange.

    Source: https://www.rabbitmq.com/docs/dlx#effects
    """
    properties, headers = envelope["properties"], envelope["headers"]
    origin = properties["delivery_info"]
    death = {
        "reason": reason,
        "queue": queue,
        "exchange": origin["exchange"],
        "routing-keys": [origin["routing_key"]],
        "count": 1,
        "time": int(time.time()),
    }
    headers["x-death"] = [death, *headers.get("x-death", ())]
    headers.setdefault("x-first-death-queue", queue)
    headers.setdefault("x-first-death-reason", reason)
    headers.setdefault("x-first-death-exchange", origin["exchange"])
    properties.pop("expiration", None)
    properties["delivery_info"] = {**origin, "exchange": exchange}
