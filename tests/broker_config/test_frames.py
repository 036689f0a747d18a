"""Header frames as RabbitMQ may send them, good ones and hostile ones."""

from __future__ import annotations

import struct

import pytest
from amqp import spec
from amqp.basic_message import Message
from amqp.serialization import loads

from broker_config.frames import tolerant_frame_handler

DELIVER = struct.pack(">HH", *spec.Basic.Deliver)
OF_ONE = struct.pack(">QB", 7, False)  # delivery tag, and not delivered before
BASIC = 60
HEADERS_FLAG = 1 << 13
CHANNEL = 1


class Connection:
    bytes_recv = 0


def table(*entries: bytes) -> bytes:
    return struct.pack(">I", sum(map(len, entries))) + b"".join(entries)


def entry(key: bytes, kind: bytes, value: bytes) -> bytes:
    return bytes([len(key)]) + key + kind + value


def nested(depth: int) -> bytes:
    inner = table()
    for _ in range(depth):
        inner = table(entry(b"a", b"F", inner))
    return inner


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def deliver(exchange: bytes = b"ladle.jobs", key: bytes = b"submit") -> bytes:
    return DELIVER + short(b"tag") + OF_ONE + short(exchange) + short(key)


def received(headers: bytes, body: bytes) -> list[Message]:
    """Let the handler take a delivery with these headers; return the messages it hands on."""
    messages = []
    on_frame = tolerant_frame_handler(Connection(), lambda channel, method, args, message: messages.append(message))
    on_frame((1, CHANNEL, deliver()))
    on_frame((2, CHANNEL, struct.pack(">HHQH", BASIC, 0, len(body), HEADERS_FLAG) + headers))
    if body:
        on_frame((3, CHANNEL, body))
    return messages


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_headers_that_can_be_read_are_as_they_were(body):
    (message,) = received(table(entry(b"task", b"S", struct.pack(">I", 1) + b"x")), body)
    assert message.properties == {"application_headers": {"task": "x"}}
    assert message.body_size == len(body)


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize(
    "headers",
    [
        table(entry(b"t", b"T", struct.pack(">Q", 2**40))),
        table(entry(b"t", b"T", struct.pack(">Q", 2**62))),
        table(entry(b"t", b"?", b"")),
        struct.pack(">I", 1000),
        b"",
        nested(20_000),
        nested(850),
    ],
    ids=[
        "year 36812",
        "no year",
        "no such type",
        "a table cut off",
        "no table",
        "deep",
        "too deep for later",
    ],
)
def test_a_message_whose_headers_cannot_be_read_comes_without(headers, body, caplog):
    (message,) = received(headers, body)
    assert message.properties == {}
    assert (message.body_size, bytes(message.body or b"")) == (len(body), body)
    assert "headers that cannot be decoded are left out" in caplog.text


def test_what_the_consumer_raises_is_no_fault_of_the_headers():
    calls = []

    def fail(*args):
        calls.append(args)
        raise ValueError("of the consumer")

    on_frame = tolerant_frame_handler(Connection(), fail)
    on_frame((1, CHANNEL, deliver()))
    with pytest.raises(ValueError, match="of the consumer"):
        on_frame((2, CHANNEL, struct.pack(">HHQH", BASIC, 0, 0, 0)))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("exchange", "key", "read"),
    [
        (b"ladle.jobs", b"submit", ("ladle.jobs", "submit")),
        (b"ladle.jobs", "ü".encode(), ("ladle.jobs", "ü")),
        (b"ladle.jobs", b"\xff\xfesubmit", ("ladle.jobs", "??submit")),
        (b"client.bob.\xff", b"submit", ("client.bob.?", "submit")),
        (b"\xff", b"", ("?", "")),
        (b"", b"\xff" * 255, ("", "?" * 255)),
    ],
)
def test_names_that_are_not_utf8_have_question_marks(exchange, key, read):
    deliveries = []
    on_frame = tolerant_frame_handler(Connection(), lambda channel, method, args, message: deliveries.append(args))
    on_frame((1, CHANNEL, deliver(exchange, key)))
    on_frame((2, CHANNEL, struct.pack(">HHQH", BASIC, 0, 0, 0)))
    (arguments,) = deliveries
    assert loads("sLbss", arguments, 4)[0] == ["tag", 7, False, *read]
