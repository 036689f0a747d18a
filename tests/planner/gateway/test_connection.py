"""Streams and headers. Bodies and clients that go are in test_openai_images.py and test_handler.py."""

from __future__ import annotations

import asyncio

import pytest

from planner.gateway.connection import EventStream, comment, event, warning_headers


def test_an_event_has_a_number_where_it_is_told_one():
    assert event("done", {"a": "x\ny"}) == b'event: done\ndata: {"a":"x\\ny"}\n\n'
    assert event("done", 1, "done.1.0") == b"id: done.1.0\nevent: done\ndata: 1\n\n"
    assert comment("waiting") == b": waiting\n\n"


def test_warnings_cannot_break_out_of_their_header():
    assert warning_headers([]) == {}
    text = warning_headers(["a\r\nset-cookie: x", "ü\ud800"])["x-ladle-warnings"]
    assert text.isascii()
    assert "\n" not in text
    assert "\r" not in text
    assert len(warning_headers(["x" * 5000])["x-ladle-warnings"]) == 1000


def run_stream(chunks, receive):
    sent, left = [], []

    async def send(message):
        sent.append(message)

    async def run():
        await EventStream(chunks(), lambda: left.append(1))({}, receive, send)

    asyncio.run(run())
    return sent, left


async def never():
    await asyncio.sleep(3600)


async def gone():
    return {"type": "http.disconnect"}


async def two():
    yield b"a"
    yield b"b"


async def endless():
    while True:
        yield b"a"
        await asyncio.sleep(0.001)


async def broken():
    yield b"a"
    raise ZeroDivisionError


def test_a_stream_ends_when_there_is_no_more():
    sent, left = run_stream(two, never)
    assert [message.get("body") for message in sent] == [None, b"a", b"b", b""]
    assert sent[-1]["more_body"] is False
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert left == [1]


def test_a_stream_ends_when_the_client_has_gone():
    sent, left = run_stream(endless, gone)
    assert all(message.get("more_body", True) for message in sent)
    assert left == [1]


def test_a_stream_that_breaks_is_left_as_well():
    left = []

    async def send(_message):
        pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(EventStream(broken(), lambda: left.append(1))({}, never, send))
    assert left == [1]
