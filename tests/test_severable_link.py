"""The link that the fault tests sever does what it says."""

from __future__ import annotations

import socket
import threading

import pytest
from severable_link import SeverableLink


@pytest.fixture
def link():
    """A link to a server that says everything twice."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection):
        while said := connection.recv(1024):
            connection.sendall(said + said)
        connection.close()

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with SeverableLink(f"amqp://user:secret@127.0.0.1:{listener.getsockname()[1]}/vhost?heartbeat=5") as link:
        yield link
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connect(link):
    return socket.create_connection(("127.0.0.1", link.port), timeout=30.0)


def test_it_carries_both_ways(link):
    assert link.url == f"amqp://user:secret@127.0.0.1:{link.port}/vhost?heartbeat=5"
    with connect(link) as connection:
        connection.sendall(b"ab")
        assert connection.recv(4, socket.MSG_WAITALL) == b"abab"


def test_cut_it_ends_and_refuses_connections_until_it_heals(link):
    with connect(link) as connection:
        connection.sendall(b"ab")
        connection.recv(4, socket.MSG_WAITALL)
        link.cut()
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(link)
    link.heal()
    with connect(link) as connection:
        connection.sendall(b"cd")
        assert connection.recv(4, socket.MSG_WAITALL) == b"cdcd"


def test_frozen_it_keeps_connections_and_carries_nothing_until_it_heals(link):
    with connect(link) as connection:
        connection.sendall(b"ab")
        connection.recv(4, socket.MSG_WAITALL)
        link.freeze()
        connection.sendall(b"cd")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        link.heal()
        connection.settimeout(30.0)
        assert connection.recv(4, socket.MSG_WAITALL) == b"cdcd"


def test_cut_while_frozen_it_ends_connections_too(link):
    with connect(link) as connection:
        connection.sendall(b"ab")
        connection.recv(4, socket.MSG_WAITALL)
        link.freeze()
        connection.sendall(b"cd")
        link.cut()
        assert connection.recv(1) == b""
