"""Headers that py-amqp cannot decode: their message goes on without any, reaches the consumer's guard, and is buried.

RabbitMQ passes on headers that Python has no value for, such as a date in the year 36,812. py-amqp raises in the middle
of the connection then: the process loses its connection or ends, the message comes again, and so on for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from amqp.basic_message import Message
from amqp.method_framing import frame_handler

logger = logging.getLogger(__name__)

HEADER_FRAME = 2  # of the kinds of frames in AMQP 0.9.1
FIXED_BYTES = 12  # class, weight, and size of the body
NO_PROPERTIES = b"\x00\x00"


def tolerant_frame_handler(connection: Any, callback: Callable[..., None]) -> Callable[[Any], bool]:
    """Return py-amqp's handler of inbound frames, with this check before it: its `Connection` takes it as an argument.

    Headers are decoded twice: that costs some microseconds a message, and what the handler itself raises, perhaps from
    the consumer that it calls, is never taken for a fault of the headers.
    """
    on_frame = frame_handler(connection, callback)

    def on_checked_frame(frame: Any) -> bool:
        kind, channel, payload = frame
        if kind == HEADER_FRAME and not _is_readable(payload):
            frame = kind, channel, bytes(payload[:FIXED_BYTES]) + NO_PROPERTIES
        return bool(on_frame(frame))

    return on_checked_frame


def _is_readable(payload: Any) -> bool:
    try:
        Message().inbound_header(payload)
    except Exception as exc:  # noqa: BLE001  # whatever a decoder does with hostile bytes, the connection survives
        logger.error("headers that cannot be decoded are left out: %.200r", exc)
        return False
    return True
