"""A private RabbitMQ in a folder, from the installed server: for tests and benchmarks that kill their broker.

Needs no root and touches no other broker: own node name, ports, data, cookie and Erlang port mapper.
Source: https://www.rabbitmq.com/docs/configure (environment variables)
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from broker_config.errors import LadleError

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the wrapper in /usr/sbin insists on the rabbitmq user
BOOT_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
NEW_QUEUE_S = 4.0  # a 3.10 killed sooner after a quorum queue's declaration may never lead it again


class BrokerStartError(LadleError):
    """The private broker did not start, or refused a command; the message names its log or says why."""


class PrivateRabbitMQ:
    """One broker process. `kill` is kill -9; `start` after it finds the same data and ports again.

    Args:
        folder: where its data and logs lie; made if it is not there.
        server: the `rabbitmq-server` script of the installation.
        plugins: to enable, such as "rabbitmq_shovel".
        certificates: folder with `ca.pem`, `server.pem` and `server-key.pem`, for a TLS listener beside the plain one.
    """

    def __init__(
        self, folder: Path, server: Path = SERVER, plugins: Sequence[str] = (), certificates: Path | None = None
    ) -> None:
        self.folder = folder.absolute()
        self._plugins = plugins
        self._server = server
        self._certificates = certificates
        self._port, self._dist_port, self._mapper_port, self._management_port, self._tls_port = _free_ports(5)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed(server: Path = SERVER) -> bool:
        """True when there is a server to start."""
        return server.exists() and all(shutil.which(program) for program in ("erl", "epmd"))

    @property
    def url(self) -> str:
        """Return its AMQP URL."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    @property
    def tls_url(self) -> str:
        """Return its AMQP URL over TLS, by the name `localhost`."""
        return f"amqps://guest:guest@localhost:{self._tls_port}//"

    @property
    def management_url(self) -> str:
        """Return the URL of its management API, with an administrator in it."""
        return f"http://guest:guest@127.0.0.1:{self._management_port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it takes connections (about 6 s on two cores).

        Raises:
            BrokerStartError: it ended, or took longer than `BOOT_TIMEOUT_S`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text("\n".join(self._configuration()) + "\n")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        log = self.folder / "start.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._server)],
                env={**os.environ, **self._variables()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        give_up = time.monotonic() + BOOT_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise BrokerStartError(f"RabbitMQ did not start: see {log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM)

    def kill(self, after_s: float = 0.0) -> None:
        """Kill it and all its helpers, at once or after a pause; see `NEW_QUEUE_S`."""
        time.sleep(after_s)
        self._end(signal.SIGKILL)

    def rabbitmqctl(self, *arguments: str) -> str:
        """Run a `rabbitmqctl` command on it and return what that printed.

        Raises:
            BrokerStartError: the command failed; the message is what it said.
        """
        done = subprocess.run(
            [str(self._server.with_name("rabbitmqctl")), "--quiet", *arguments],
            env={**os.environ, **self._variables()},
            capture_output=True,
            text=True,
            timeout=STOP_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise BrokerStartError(f"rabbitmqctl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except ProcessLookupError:
            process.wait()
        # Erlang's port mapper detaches itself from every group; it goes when the last node has.
        mapper = ["epmd", "-port", str(self._mapper_port), "-kill"]
        subprocess.run(mapper, capture_output=True, check=False, timeout=STOP_TIMEOUT_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1.0) as connection:
                connection.settimeout(2.0)
                connection.sendall(b"AMQP\x00\x00\x09\x01")  # a listener that is up answers with connection.start
                return bool(connection.recv(1))
        except OSError:
            return False

    def _configuration(self) -> list[str]:
        lines = [f"listeners.tcp.default = 127.0.0.1:{self._port}"]
        if "rabbitmq_management" in self._plugins:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self._management_port}"]
        if self._certificates is not None:
            lines += [
                f"listeners.ssl.default = 127.0.0.1:{self._tls_port}",
                f"ssl_options.cacertfile = {self._certificates}/ca.pem",
                f"ssl_options.certfile = {self._certificates}/server.pem",
                f"ssl_options.keyfile = {self._certificates}/server-key.pem",
                "ssl_options.verify = verify_peer",
                "ssl_options.fail_if_no_peer_cert = false",
            ]
        return lines

    def _variables(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # lets the port mapper be ended while it still lists the dead node
            "RABBITMQ_NODENAME": f"ladle{self._port}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        }


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
