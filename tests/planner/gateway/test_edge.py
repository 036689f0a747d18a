"""Who passes, and how much: a gateway that nobody stands behind."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket

import pytest
from gateway_server import serving
from ladle_site import wait_until

from planner.gateway.edge import Edge, body_limit_bytes, key_of
from planner.gateway.keys import key_file
from planner.gateway.sessions import COOKIE, new_session

MODELS = "/v1/models"


@pytest.fixture
def key(settings):
    return key_file(settings).add("ann")


def test_without_keys_this_machine_is_served(settings):
    with serving(settings) as gateway:
        assert gateway.ask(MODELS).status == 200


def test_the_first_key_closes_the_gateway_at_once(settings):
    with serving(settings) as gateway:
        key = key_file(settings).add("ann")
        assert gateway.ask(MODELS).status == 401
        assert gateway.ask(MODELS, authorization=f"Bearer {key}").status == 200


@pytest.mark.parametrize("changes", [{"http_host": "0.0.0.0"}, {"http_keys": "always"}])
def test_for_other_machines_or_where_it_is_set_a_key_is_needed_even_if_there_is_none(settings, changes):
    with serving(settings, **changes) as gateway:
        answer = gateway.ask(MODELS)
        assert (answer.status, answer.error["type"]) == (401, "authentication_error")
        assert "`ladle key add NAME`" in answer.error["message"]


@pytest.mark.parametrize(
    ("server", "status"),
    [(("127.0.0.1", 1), 200), (("10.0.0.7", 1), 401), (("/run/x.sock", None), 401), (None, 401)],
    ids=str,
)
def test_whatever_the_settings_say_a_connection_from_elsewhere_needs_a_key(settings, server, status):
    statuses = []

    async def app(scope, _receive, _send):
        statuses.append(200 if scope["state"]["owner"] else None)

    async def send(message):
        statuses.append(message.get("status"))

    edge = Edge(app, settings, key_file(settings), lambda: 1.0)
    scope = {"type": "http", "method": "GET", "path": MODELS, "query_string": b"", "server": server}
    asyncio.run(edge({**scope, "headers": [(b"host", b"localhost")]}, None, send))
    assert statuses[0] == status


def test_where_it_is_set_nobody_needs_a_key(settings, key):
    with serving(settings, http_keys="never", http_host="0.0.0.0") as gateway:
        assert gateway.ask(MODELS).status == 200


@pytest.mark.parametrize("path", ["/", "/health"])
def test_that_it_lives_anybody_may_know(settings, key, path):
    with serving(settings) as gateway:
        assert gateway.ask(path).json["status"] == "ok"
        assert gateway.ask(path, method="HEAD").status == 200


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/static/page.css", "/static/icon.svg"])
def test_the_page_is_shown_to_anybody_and_asks_for_the_key_itself(settings, key, path):
    with serving(settings) as gateway:
        assert gateway.ask(path, accept="text/html,*/*;q=0.8").status == 200


def test_who_has_a_session_needs_no_key_on_the_gateways_own_page(settings, key):
    with serving(settings) as gateway:
        cookie = f"{COOKIE}={new_session(key_file(settings).named('ann'))}"
        assert gateway.ask(MODELS, cookie=cookie).status == 200
        assert gateway.ask(MODELS, cookie=cookie + "0").status == 401
        refused = gateway.ask(MODELS, cookie=cookie, origin="http://evil.example")
        assert (refused.status, refused.error["code"]) == (403, "foreign_origin")


def test_a_key_needs_no_own_page(settings, key):
    with serving(settings) as gateway:
        assert gateway.ask(MODELS, authorization=f"Bearer {key}", origin="http://evil.example").status == 200


@pytest.mark.parametrize(
    ("changes", "may_operate"), [({}, True), ({"http_keys": "never", "http_host": "0.0.0.0"}, False)]
)
def test_without_keys_whoever_is_at_this_machine_may_operate_and_nobody_else(settings, changes, may_operate):
    with serving(settings, **changes) as gateway:
        assert gateway.ask("/page/session").json["may_operate"] is may_operate


@pytest.mark.parametrize("path", [MODELS, "/sdapi/v1/options", "/jobs/http.ann.1", "/images/http.ann.1/0.png", "/x"])
def test_everything_else_needs_a_key(settings, key, path):
    with serving(settings) as gateway:
        assert gateway.ask(path).status == 401
        assert gateway.ask(path, authorization="Bearer ladle-wrong").error["message"] == "this key is not valid"


def test_a_key_comes_as_a_bearers_or_as_a_password():
    basic = base64.b64encode(b"user:ladle-x").decode()
    for header in ("Bearer ladle-x", "bearer  ladle-x ", f"Basic {basic}"):
        assert key_of(header) == "ladle-x"
    for header in ("", "Bearer", "ladle-x", "Basic !", "Basic " + base64.b64encode(b"\xff").decode(), "Digest x"):
        assert key_of(header) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "["},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "//["},
    ],
)
def test_without_keys_no_page_from_elsewhere_is_served(settings, headers):
    with serving(settings) as gateway:
        assert gateway.ask(MODELS, **headers).status == 403
        assert gateway.ask(MODELS, origin="http://localhost:3000").status == 200


def test_a_body_that_says_it_is_too_long_is_refused_unread(settings):
    with serving(settings) as gateway, socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        length = body_limit_bytes(settings) + 1
        head = f"POST /jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_limit(settings):
    with serving(settings) as gateway, socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        size = body_limit_bytes(settings) + 1
        connection.sendall(f"{size:x}\r\n".encode() + b" " * size + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_the_longest_valid_request_fits(settings):
    escaped = r"\u0041" * settings.max_prompt_bytes
    picture = "x" * int(settings.message_limit_mib * 2**20)
    assert len(escaped) * 2 + len(picture) < body_limit_bytes(settings)


def test_more_requests_than_may_wait_are_refused_and_go_when_others_have_gone(settings):
    with serving(settings, http_max_requests=1) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
            slow.sendall(b"POST /jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
            wait_until(lambda: gateway.ask(MODELS).status == 429, "a refusal")
            refused = gateway.ask(MODELS)
            assert (refused.error["code"], refused.headers["x-should-retry"]) == ("too_many_requests", "true")
            assert gateway.ask("/health").status == 200
        wait_until(lambda: gateway.ask(MODELS).status == 200, "room")


def test_a_spoilt_key_file_lets_nobody_in(settings):
    key_file(settings).path.write_text("{")
    with serving(settings) as gateway:
        answer = gateway.ask(MODELS)
        assert answer.status == 500
        assert "cannot be read" in answer.error["message"]


def test_the_log_has_each_request_and_no_key_or_signature(settings, key, caplog):
    caplog.set_level(logging.INFO)
    with serving(settings) as gateway:
        gateway.ask(f"{MODELS}?signature=secret", authorization=f"Bearer {key}")
    assert "ann GET /v1/models 200" in caplog.text
    assert "secret" not in caplog.text
    assert key not in caplog.text
