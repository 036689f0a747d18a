"""AMQP frames that py-amqp cannot decode whole: the message goes on without that, and the consumer's guard buries it.

RabbitMQ passes on what senders write, such as a date in the year 36,812, a key that is not UTF-8, or a thousand tables
within each other. py-amqp raises in the middle of the connection then: the process loses its connection or ends, the
message comes again, and so on for ever.

Source: https://www.rabbitmq.com/docs/amqp-0-9-1-reference, `basic.deliver`; amqp.method_framing
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from struct import unpack_from
from typing import Any

from amqp import spec
from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import loads

logger = logging.getLogger(__name__)

METHOD_FRAME, HEADER_FRAME = 1, 2  # of the kinds of frames in AMQP 0.9.1
ARGUMENTS_AT = 4  # behind class and method
FIXED_BYTES = 12  # of a header frame: class, weight, and size of the body
DELIVERY_BYTES = 9  # delivery tag, and whether it was delivered before
NO_PROPERTIES = b"\x00\x00"
SPARE_CALLS = 200
"""Calls within each other that are left for reading the headers again later, writing them out or storing them."""

Frame = tuple[int, int, Any]


def tolerant_frame_handler(connection: Any, callback: Callable[..., None]) -> Callable[[Frame], bool]:
    """Return py-amqp's handler of inbound frames, with this check before it: its `Connection` takes it as an argument.

    Headers are decoded twice: that costs some microseconds a message, and what the handler itself raises, perhaps from
    the consumer that it calls, is never taken for a fault of the headers.
    """
    on_frame = frame_handler(connection, callback)

    def on_checked_frame(frame: Frame) -> bool:
        return bool(on_frame(_legible(frame)))

    return on_checked_frame


def _legible(frame: Frame) -> Frame:
    """Return a frame as it is if py-amqp can decode it, else without what it cannot."""
    kind, channel, payload = frame
    if kind == HEADER_FRAME and not _is_readable(payload):
        return kind, channel, bytes(payload[:FIXED_BYTES]) + NO_PROPERTIES
    if kind == METHOD_FRAME and unpack_from(">HH", payload) == spec.Basic.Deliver:
        return kind, channel, _in_ascii_unless_utf8(bytes(payload))
    return frame


def _is_readable(payload: Any, spare_calls: int = SPARE_CALLS) -> bool:
    if spare_calls:
        return _is_readable(payload, spare_calls - 1)
    try:
        Message().inbound_header(payload)
    except Exception as exc:  # noqa: BLE001  # whatever a decoder does with hostile bytes, the connection survives
        logger.error("headers that cannot be decoded are left out: %.200r", exc)
        return False
    return True


def _in_ascii_unless_utf8(deliver: bytes) -> bytes:
    """Replace what is not ASCII by question marks in the exchange and the key of a delivery, if one is not UTF-8."""
    try:
        loads("sLbss", deliver, ARGUMENTS_AT)
    except UnicodeDecodeError:
        exchange_at = ARGUMENTS_AT + 1 + deliver[ARGUMENTS_AT] + DELIVERY_BYTES
        return deliver[:exchange_at] + _texts_in_ascii(deliver[exchange_at:])
    return deliver


def _texts_in_ascii(texts: bytes) -> bytes:
    """Return short strings of AMQP, a byte of length before each, without what is not ASCII."""
    if not texts:
        return b""
    end = 1 + texts[0]
    text = bytes(byte if byte < 0x80 else ord("?") for byte in texts[1:end])
    return texts[:1] + text + _texts_in_ascii(texts[end:])
