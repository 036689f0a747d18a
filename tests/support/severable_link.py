"""A network link that a test can cut or freeze: a TCP proxy on loopback between a broker and those who reach for it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 64 * 2**10


class SeverableLink:
    """Forwards TCP connections to the host and port of `url`, until told otherwise.

    `cut` ends all connections and refuses new ones, as when a router says no. `freeze` keeps them open and carries
    nothing either way, as when packets vanish: neither end learns of it but by its own heartbeat. `heal` ends both.

    Args:
        url: where it leads; `self.url` is the same URL through this link.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))
        self._accept_in_background()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept, which close does not
        self._listener.close()
        with self._lock:
            ended, self._sockets = self._sockets, set()
        for each in ended:
            _end(each)
        self._flows.set()

    def freeze(self) -> None:
        """Carry nothing more, and say nothing to either end."""
        self._flows.clear()

    def heal(self) -> None:
        """Carry on; what was held back while frozen arrives now, as TCP would send it again."""
        if self._listener.fileno() == -1:
            self._listener = _listen(self.port)
            self._accept_in_background()
        self._flows.set()

    def _accept_in_background(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), name=f"link-{self.port}", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:  # cut
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        """Connect one accepted connection with the target; not before the link flows."""
        self._flows.wait()
        try:
            far = socket.create_connection(self._target, timeout=10.0)
        except OSError:
            _end(near)
            return
        far.settimeout(None)
        with self._lock:
            self._sockets |= {near, far}
        if self._listener.fileno() == -1:
            self.cut()
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        self._carry(far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(CHUNK_BYTES):
                self._flows.wait()
                sink.sendall(chunk)
        except OSError:
            pass
        with self._lock:
            self._sockets -= {source, sink}
        _end(source)
        _end(sink)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
