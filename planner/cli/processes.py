"""Starts Ladle's processes on this machine, restarts those that die, and stops them all."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn, Self

from broker_config.settings import Settings, environment
from broker_config.topology import PLANNER_QUEUES, TRAIN_QUEUE, check_node_name, node_key

WATCH_EVERY_S = 0.2
RESTART_PAUSE_S = 1.0
AT_ONCE_S = 30.0  # a planner or worker that runs has by then loaded torch and consumes its queue
MAX_EARLY_DEATHS = 3  # the same end three times: a fourth start would come to it as well
STOP_MARGIN_S = 10.0  # beyond the grace time of a worker's running job
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CELERY = (sys.executable, "-m", "celery", "--quiet")
UVICORN = (sys.executable, "-m", "uvicorn")
POOL = ("-P", "threads", "-c", "1", "--without-gossip", "--without-mingle")


def planner_command(name: str = "planner") -> list[str]:
    """Return the plain Celery command of a planner."""
    queues = ",".join(queue.name for queue in PLANNER_QUEUES)
    return [*CELERY, "-A", "planner", "worker", "-Q", queues, "-n", f"{name}@%h", *POOL, "-l", "INFO"]


def worker_command(node: str, *, app: str = "workers", queue: str = "") -> list[str]:
    """Return the plain Celery command of a node's worker."""
    queue = queue or node_key(check_node_name(node))
    return [*CELERY, "-A", app, "worker", "-Q", queue, "-n", f"{node}@%h", *POOL, "-l", "INFO"]


def retrain_command() -> list[str]:
    """Return the plain Celery command of continual retraining."""
    return [*CELERY, "-A", "rl_agent", "worker", "-Q", TRAIN_QUEUE.name, "-n", "train@%h", *POOL, "-B", "-l", "INFO"]


def serve_command(settings: Settings, processes: int = 1) -> list[str]:
    """Return the plain uvicorn command of the HTTP gateway."""
    options = {
        "--host": settings.http_host,
        "--port": str(settings.http_port),
        "--workers": str(processes),
        "--timeout-graceful-shutdown": str(math.ceil(settings.grace_s)),
    }
    # uvicorn's own log of requests would show the signatures of images; `planner.gateway.edge` logs without them.
    flags = ["--factory", "--no-access-log", "--no-server-header"]
    return [*UVICORN, *flags, *chain.from_iterable(options.items()), "planner.gateway.app:gateway"]


@dataclass(kw_only=True)
class Service:
    """One process that should run: its command, extra variables, log file, and how often it was restarted.

    `early_deaths`: how often it ended at once by itself. `has_run`: it ran for a while, so
    what ends it later may pass.
    """

    name: str
    command: list[str]
    variables: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    early_deaths: int = 0
    has_run: bool = False
    started_at: float = 0.0

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended."""
        return self.process is not None and self.process.poll() is not None

    @property
    def is_given_up(self) -> bool:
        """Whether it never ran and ended at once so often that it is not started again."""
        return not self.has_run and self.early_deaths >= MAX_EARLY_DEATHS

    def why_given_up(self) -> str:
        """Say that it is not started again, with the last line that it wrote."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "nothing"
        return (
            f"{self.name} ended at once {self.early_deaths} times and is not started again. Its last line: {last}  "
            f"(more in {self.log})"
        )


@dataclass(kw_only=True)
class Processes:
    """A group of processes, stopped when the `with` block ends, however it ends.

    SIGTERM and SIGHUP of this process are turned into KeyboardInterrupt, so that they end the block as Ctrl-C does.
    Must be entered in the main thread, which alone may handle signals.
    """

    settings: Settings
    logs: Path
    services: dict[str, Service] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._is_spawning = self._was_interrupted = False
        self._previous = {number: signal.signal(number, self._interrupt) for number in INTERRUPTS}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="ladle-watch", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        self.stop()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def start(self, name: str, command: list[str], **variables: str) -> Service:
        """Start a process with the group's settings; `variables` are added to its environment.

        Where the settings name a port for metrics, it is the first process's, and each further one has the next.
        """
        if self.settings.metrics_port:
            variables |= {"LADLE_METRICS_PORT": str(self.settings.metrics_port + len(self.services))}
        service = Service(name=name, command=command, variables=variables, log=self.logs / f"{name}.log")
        self.services[name] = service
        self._is_spawning = True  # an interrupt in between would lose sight of the new process
        self._spawn(service)
        self._is_spawning = False
        self.raise_if_interrupted()
        return service

    def raise_if_interrupted(self) -> None:
        """Call this in every loop: what a signal's handler raises inside of a finalizer is dropped by Python.

        Raises:
            KeyboardInterrupt: an interrupt has come.
        """
        if self._was_interrupted:
            raise KeyboardInterrupt

    def given_up(self) -> list[Service]:
        """Return the services that are not started again."""
        return [service for service in self.services.values() if service.is_given_up]

    def stop(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        self._stopping.set()
        self._watcher.join()
        running = [s.process for s in self.services.values() if s.process is not None and s.process.poll() is None]
        for process in running:
            process.terminate()
        give_up = time.monotonic() + self.settings.grace_s + STOP_MARGIN_S
        for process in running:
            try:
                process.wait(max(give_up - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, service: Service) -> None:
        variables = {**os.environ, **environment(self.settings), **service.variables}
        log: IO[Any]
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                service.command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order
            )
        service.started_at = time.monotonic()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._was_interrupted = True
        if not self._is_spawning:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_EVERY_S):
            for service in list(self.services.values()):
                if not service.is_given_up and service.is_dead:
                    self._start_again(service)

    def _start_again(self, service: Service) -> None:
        """Start a dead process again, if it has been dead for a moment and may live longer this time."""
        lived_s = time.monotonic() - service.started_at
        if lived_s < RESTART_PAUSE_S:
            return
        service.has_run |= lived_s >= AT_ONCE_S
        if service.process is not None and service.process.returncode != -signal.SIGKILL:  # which somebody else sent
            service.early_deaths += 1
        if not service.is_given_up:
            self._spawn(service)
            service.restarts += 1


def replace_this_process(command: list[str], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by `command`, so that signals and exit codes are those of `command`."""
    os.execve(command[0], command, {**os.environ, **variables})
