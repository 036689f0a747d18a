"""A whole Ladle under test: settings of its own, and real planner and worker processes, started and always stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kombu import Connection

from broker_config.messages import JobState
from broker_config.settings import Settings, environment
from broker_config.sqlite import transport as sqlite_transport
from broker_config.topology import node_key
from planner import AsyncClient, Client
from planner.cli.processes import planner_command, retrain_command, serve_command, worker_command
from planner.ledger.ledger import Ledger

PATIENCE_S = 120.0  # a test that passes never waits that long, however busy the machine
REPOSITORY = Path(__file__).parents[2]
NODES = ("a", "b", "c")


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for something that takes its time; fail with `what` was missed."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port on which nobody listens at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Running:
    """One process of Ladle and its log."""

    def __init__(self, name: str, command: list[str], settings: Settings, log: Path, folder: Path = REPOSITORY) -> None:
        self.name, self.log_file = name, log
        with log.open("ab") as output:
            self._seen = output.tell()
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment(settings)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        """What this process (not an earlier one of the name) has written."""
        return self.log_file.read_bytes()[self._seen :].decode(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self) -> None:
        wait_until(lambda: " ready." in self.log or not self.is_alive, f"start of {self.name}", PATIENCE_S)
        assert self.is_alive, f"{self.name} ended at its start:\n{self.log}"

    def kill(self) -> None:
        """kill -9"""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT"""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)


class Site:
    """A planner and its nodes on one broker and one ledger.

    Args:
        folder: for logs and everything embedded.
        changes: settings.
    """

    def __init__(self, folder: Path, **changes) -> None:
        self.settings = Settings(
            _env_file=None,
            **{
                "data_dir": folder,
                "engine": "emulated",
                "emulated_s_per_unit": 1.0,  # 64x64: 4 ms per image step
                "heartbeat_s": 0.25,
                "node_timeout_s": 3.0,
                "http_port": free_port(),
                **changes,
            },
        )
        self.folder = folder
        self.running: dict[str, Running] = {}
        sqlite_transport.register()
        self.ledger = Ledger(self.settings.database)

    def start_planner(self, name: str = "planner", **changes) -> Running:
        return self._start(name, planner_command(name), changes)

    def start_doomed_planner(self, moment: str, **changes) -> Running:
        """Start a planner that is killed, or stuck, at a moment of `doomed_planner`."""
        script = str(Path(__file__).with_name("doomed_planner.py"))
        options = planner_command()[3:]  # without `python -m celery`
        return self._start("planner", [sys.executable, script, moment, *options], changes)

    def start_worker(self, name: str = "a", **changes) -> Running:
        return self._start(name, worker_command(name), changes)

    def start_worker_in(self, folder: Path, name: str, **changes) -> Running:
        """Start a worker in a folder of its own: what a relative path means depends on that."""
        running = self._spawn(name, worker_command(name), changes, folder)
        running.wait_ready()
        return running

    def start_boastful_worker(self, name: str, **changes) -> Running:
        """Start a worker that says it draws ten times as fast as it does."""
        script = str(Path(__file__).with_name("boastful_worker.py"))
        return self._start(name, [sys.executable, script, *worker_command(name)[3:]], changes)

    def start_gateway(self, **changes) -> Running:
        running = self._spawn("gateway", serve_command(self.settings), changes)
        wait_until(lambda: "startup complete" in running.log or not running.is_alive, "start of the gateway")
        assert running.is_alive, f"the gateway ended at its start:\n{running.log}"
        return running

    def start_retraining(self, **changes) -> Running:
        return self._start("train", retrain_command(), changes)

    def start(self, *nodes: str, **changes) -> None:
        """Start a planner and workers side by side, those that do not run already."""
        names = [name for name in ("planner", *nodes) if name not in self.running or not self.running[name].is_alive]
        for name in names:
            command = planner_command() if name == "planner" else worker_command(name)
            self._spawn(name, command, changes)
        for name in names:
            self.running[name].wait_ready()

    def client(self, **changes) -> Client:
        return Client(self.settings, **changes)

    def async_client(self, **changes) -> AsyncClient:
        return AsyncClient(self.settings, **changes)

    def stop(self) -> None:
        """Kill whatever runs: what a test wants to see of an orderly end, it looks at itself."""
        for running in self.running.values():
            if running.is_alive:
                running.kill()
        self.ledger.close()

    # The ledger, as seen from outside

    def rows(self, *jobs: str) -> list[dict]:
        with self.ledger.transaction() as connection:
            found = self.ledger.jobs(connection, jobs)
        return [dict(found[job]) for job in jobs if job in found]

    def state(self, job: str) -> str | None:
        return next((row["state"] for row in self.rows(job)), None)

    def running_jobs(self) -> set[str]:
        with self.ledger.transaction() as connection:
            return {row["id"] for row in self.ledger.recent_jobs(connection, 1000, [JobState.RUNNING])}

    def attempts(self, job: str) -> list[dict]:
        with self.ledger.transaction() as connection:
            return [dict(row) for row in self.ledger.attempts_of(connection, job)]

    def node_states(self) -> dict[str, str]:
        with self.ledger.transaction() as connection:
            return {row["name"]: row["state"] for row in self.ledger.nodes(connection)}

    def dead_letters(self) -> list[dict]:
        with self.ledger.transaction() as connection:
            return [dict(row) for row in self.ledger.dead_letters(connection)]

    def wait_for_state(self, job: str, *states: str, timeout_s: float = PATIENCE_S) -> None:
        wait_until(lambda: self.state(job) in states, f"job {job} {' or '.join(states)}", timeout_s)

    def wait_for_node(self, name: str, state: str, timeout_s: float = PATIENCE_S) -> None:
        wait_until(lambda: self.node_states().get(name) == state, f"node {name} {state}", timeout_s)

    def images(self) -> list[Path]:
        return sorted((self.folder / "images").rglob("*.png"))

    def connection(self) -> Connection:
        return Connection(self.settings.broker)

    def _start(self, name: str, command: list[str], changes: dict) -> Running:
        running = self._spawn(name, command, changes)
        running.wait_ready()
        return running

    def _spawn(self, name: str, command: list[str], changes: dict, folder: Path = REPOSITORY) -> Running:
        settings = self.settings.with_changes(**changes)
        self.running[name] = Running(name, command, settings, self.folder / f"{name}.log", folder)
        return self.running[name]


def delete_queues(url: str) -> None:
    """Remove every queue that tests use from a broker they share."""
    names = [
        "planner",
        "admin",
        "outcomes",
        "dead",
        "train",
        *map(node_key, NODES),
        *(f"control.{node}" for node in NODES),
    ]
    with Connection(url) as connection:
        for name in names:
            with connection.channel() as channel:
                channel.queue_delete(name)
