"""A receiver of webhooks under test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from background_server import in_background
from certificates import make_authority, make_certificate


@dataclass(frozen=True)
class ReceivedCall:
    """One call."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """Check the signature as the specification says, from its text alone."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        proof = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return self.headers["webhook-signature"] == f"v1,{proof}"


@dataclass
class Receiver:
    """What was received so far."""

    port: int
    calls: list[ReceivedCall] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def receiving(statuses: Sequence[int] = (), location: str = "", tls_folder: Path | None = None) -> Iterator[Receiver]:
    """Receive until the block ends; answer with these statuses, then with 200."""
    answers = iter(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.calls.append(ReceivedCall(self.path, headers, body))
            self.send_response(next(answers, 200))
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing: a client that refuses the certificate is what a test wants."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls_folder is not None:
            server.socket = _tls(tls_folder).wrap_socket(server.socket, server_side=True)
        receiver = Receiver(server.server_address[1])
        with in_background(server):
            yield receiver


def _tls(folder: Path) -> ssl.SSLContext:
    make_authority(folder)
    make_certificate(folder, "server", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    return context
