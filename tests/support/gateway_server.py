"""A gateway under test: uvicorn in a thread of this process, and a client that sends whatever a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from ladle_site import wait_until

from broker_config.settings import Settings
from planner.gateway.app import make_gateway


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Gateway:
    """A running gateway.

    Args:
        url: of it.
    """

    def __init__(self, url: str, port: int) -> None:
        self.url, self.port = url, port

    def ask(self, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> Answer:
        """Send a request: a body that is not bytes as JSON; underscores of `headers` become dashes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {
            name.replace("_", "-"): value for name, value in {"content_type": "application/json", **headers}.items()
        }
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, _headers(answer), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _headers(error), error.read())

    def begin(self, path: str, body: Any, **headers: str) -> socket.socket:
        """Send a request and return the connection, for one who goes before the answer comes."""
        data = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        return connection


def _headers(answer: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


@contextlib.contextmanager
def serving(settings: Settings, port: int = 0, **changes: Any) -> Iterator[Gateway]:
    """Serve in a thread until the block ends; on a free port, unless one is given."""
    app = make_gateway(settings.with_changes(**changes))
    listening = socket.create_server(("127.0.0.1", port))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        wait_until(lambda: server.started, "start of the gateway")
        yield Gateway(f"http://127.0.0.1:{port}", port)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
