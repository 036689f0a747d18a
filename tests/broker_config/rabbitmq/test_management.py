"""The management API as Ladle calls it, against a server that answers as RabbitMQ does."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from broker_config.errors import AdministrationError
from broker_config.rabbitmq.management import Management, management_url


@pytest.fixture
def server():
    """A server on loopback that keeps what it is asked and answers with `server.status` and `server.answer`."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            asked.append((self.command, self.path, self.headers["Authorization"], json.loads(body or b"null")))
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(self.server.answer)

        do_POST = do_DELETE = _answer

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.answer = asked, 204, b""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def management(server):
    return Management(f"http://ann:s%40cret@127.0.0.1:{server.server_port}/")


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("amqp://u:p@host:5672/v", "http://u:p@host:15672"),
        ("amqps://u:p@host/v", "https://u:p@host:15671"),
        ("amqp://host", "http://host:15672"),
        ("amqp://u:p@[::1]:5672//", "http://u:p@[::1]:15672"),
        ("amqp://u:p%40x@", "http://u:p%40x@localhost:15672"),
    ],
)
def test_the_api_is_where_rabbitmq_puts_it_with_the_same_user(broker, url):
    assert management_url(broker) == url


def test_names_are_quoted_and_the_password_is_decoded(server, management):
    assert management.delete_queue("/a b", "node.x/y")
    assert management.delete_user("node.x")
    management.import_definitions({"users": []})
    login = base64.b64encode(b"ann:s@cret").decode()
    assert server.asked == [
        ("DELETE", "/api/queues/%2Fa%20b/node.x%2Fy", f"Basic {login}", None),
        ("DELETE", "/api/users/node.x", f"Basic {login}", None),
        ("POST", "/api/definitions", f"Basic {login}", {"users": []}),
    ]


def test_what_was_not_there_is_said_and_is_no_error(server, management):
    server.status = 404
    assert management.delete_user("node.x") is False
    with pytest.raises(AdministrationError, match="404"):
        management.import_definitions({})


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, b"", "lacks the tag 'administrator'"),
        (403, b"", "lacks the tag 'administrator'"),
        (400, b'{"error": "bad_request", "reason": "no such vhost"}', "400 no such vhost"),
        (500, b"<html>", "500"),
    ],
)
def test_a_refusal_says_why_and_shows_no_password(server, management, status, answer, words):
    server.status, server.answer = status, answer
    with pytest.raises(AdministrationError, match=words) as refused:
        management.delete_user("node.x")
    assert "cret" not in str(refused.value)


def test_a_server_that_is_not_there_is_an_error_of_ours():
    with pytest.raises(AdministrationError, match="refused"):
        Management("http://u:p@127.0.0.1:1").delete_user("x")
