"""Does the invariant hold for long? Thousands of jobs while workers, planner and broker are killed at random.

    python -m benchmarks.soak --minutes 10 --broker embedded
    python -m benchmarks.soak --minutes 10 --broker rabbitmq --seed 7

Real processes on emulated engines, as `ladle up` starts them: what dies is started again. One worker is spared all the
time and the planner in the second half, so that a leak has a process to show in. The broker of `rabbitmq` is a private
one. At the end every job whose submit returned must have exactly one terminal state, its attempts bounded, its image
once, and no process may have grown: the exit code is 1 otherwise. The seed fixes jobs and deaths, not how they
interleave.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.soak_checks import MemoryLog, audit
from benchmarks.soak_deaths import STEADY, Deaths
from broker_config.errors import BrokerUnavailableError
from broker_config.rabbitmq import definitions as rabbitmq
from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import Settings
from planner import AsyncClient
from planner.cli.processes import Processes, planner_command, worker_command
from planner.cli.tables import read_nodes
from planner.errors import JobFailedError
from planner.ledger.ledger import Ledger

WORKERS = (STEADY, "two", "three")
JOBS_AT_ONCE = 40  # enough to keep jobs WAITING behind three windows of two
START_TIMEOUT_S = 120.0
LAST_RESULT_S = 300.0
RESUBMIT_PAUSE_S = 0.5
ODD_JOBS = 40  # one of so many is cancelled, and one has a deadline


class Load:
    """Clients that submit, await, and sometimes change their mind.

    Attributes:
        heard: by job whose submit returned, what its client was told in the end.
    """

    def __init__(self, client: AsyncClient, chance: random.Random) -> None:
        self.heard: dict[str, str | None] = {}
        self.refused_by_the_broker = 0
        self._client = client
        self._chance = chance
        self._numbers = iter(range(10**9))

    async def run(self, until: float) -> None:
        """Keep `JOBS_AT_ONCE` jobs under way until the monotonic clock says `until`, then wait for the last ones."""
        async with asyncio.TaskGroup() as group:
            for _ in range(JOBS_AT_ONCE):
                group.create_task(self._one_after_the_other(until))

    async def _one_after_the_other(self, until: float) -> None:
        while time.monotonic() < until:
            await self._one()

    async def _one(self) -> None:
        odd = self._chance.randrange(ODD_JOBS)
        request: dict[str, Any] = {
            "prompt": "nothing",
            "size": "8x8",
            "num_inference_steps": self._chance.randint(1, 20),
            "seed": 0,
            "idempotency_key": f"soak-{next(self._numbers)}",
            "deadline_s": 1.0 if odd == 0 else None,
        }
        handle = await self._submit(request)
        self.heard[handle.job] = None
        if odd == 1:
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))
            await self._cancel(handle)
        try:
            await handle.result(LAST_RESULT_S)
            self.heard[handle.job] = "DONE"
        except JobFailedError as exc:
            self.heard[handle.job] = type(exc).__name__
        except TimeoutError:
            pass  # the audit names it

    async def _submit(self, request: dict[str, Any]) -> Any:
        """Submit with one key until the broker confirms: it may have taken the first one and died."""
        while True:
            try:
                return await self._client.submit(**request)
            except BrokerUnavailableError:
                self.refused_by_the_broker += 1
                await asyncio.sleep(RESUBMIT_PAUSE_S)

    async def _cancel(self, handle: Any) -> None:
        try:
            await handle.cancel()
        except BrokerUnavailableError:
            self.refused_by_the_broker += 1


def main() -> None:
    """Soak, print what came of it, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--broker", choices=("embedded", "rabbitmq"), default="embedded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep logs, ledger and images here; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ladle-soak-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "ledger.db").exists():
            raise SystemExit(f"--folder {folder}: has a ledger already; name an empty folder")
        sys.exit(soak(folder, options.minutes * 60.0, options.broker, options.seed))


def soak(folder: Path, seconds: float, broker_kind: str, seed: int) -> int:
    """Run everything in `folder` and return the exit code."""
    chance = random.Random(seed)
    broker = PrivateRabbitMQ(folder / "rabbitmq") if broker_kind == "rabbitmq" else None
    settings = settings_of(folder, broker)
    with broker or nullcontext(), Processes(settings=settings, logs=folder / "logs") as processes:
        if broker is not None:
            for _, *arguments in rabbitmq.commands(settings, rabbitmq.vhost_of(broker.url)):
                broker.rabbitmqctl(*arguments)
        ledger = start(settings, processes)
        memory = MemoryLog(processes.services)
        deaths = Deaths(processes.services, broker, random.Random(seed + 1), seconds)
        with memory, deaths, shown(seconds, deaths):
            load = asyncio.run(_load(settings, chance, seconds, deaths))
        problems = audit(ledger, settings, load.heard) + memory.problems()
        print_table(broker_kind, seed, seconds, load, deaths, ledger, memory)
        ledger.close()
    for problem in problems:
        print(f"WRONG: {problem}")
    if problems:
        print(f"{len(problems)} problems")
    elif memory.rows():
        print("Every job has exactly one end, and no process has grown.")
    else:
        print("Every job has exactly one end. No process lived long enough to judge its memory.")
    return 1 if problems else 0


def settings_of(folder: Path, broker: PrivateRabbitMQ | None) -> Settings:
    """Return settings under which a death is noticed within seconds; an image step takes 5 ms."""
    return Settings(
        _env_file=None,
        data_dir=folder,
        broker_url=broker.url if broker else "",
        engine="emulated",
        emulated_s_per_unit=0.005 / 64e-6,
        heartbeat_s=0.5,
        node_timeout_s=6.0,
        confirm_timeout_s=5.0,
        grace_s=1.0,
    )


def start(settings: Settings, processes: Processes) -> Ledger:
    """Start a planner and the workers, and return the ledger once all nodes are ready."""
    processes.start("planner", planner_command())
    for name in WORKERS:
        processes.start(name, worker_command(name))
    ledger = Ledger(settings.database)
    ledger.migrate()
    give_up = time.monotonic() + START_TIMEOUT_S
    while sum(row["state"] == "READY" for row in read_nodes(ledger)) < len(WORKERS):
        if time.monotonic() > give_up:
            raise SystemExit(f"not all nodes are ready: see {processes.logs}")
        time.sleep(0.2)
    return ledger


async def _load(settings: Settings, chance: random.Random, seconds: float, deaths: Deaths) -> Load:
    async with AsyncClient(settings) as client:
        load = Load(client, chance)
        deaths.jobs = load.heard
        await load.run(time.monotonic() + seconds)
        return load


@contextmanager
def shown(seconds: float, deaths: Deaths) -> Iterator[None]:
    """Show a progress bar while the block runs."""
    columns = (TextColumn("{task.description:>30}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=seconds)
        began = time.monotonic()
        deaths.watch = lambda: progress.update(
            bar,
            completed=min(time.monotonic() - began, seconds),
            description=f"{len(deaths.jobs)} jobs, {sum(deaths.killed.values())} deaths",
        )
        yield


def print_table(
    broker_kind: str, seed: int, seconds: float, load: Load, deaths: Deaths, ledger: Ledger, memory: MemoryLog
) -> None:
    """Print what happened."""
    with ledger.transaction(reads=True) as connection:
        states = ledger.count_by_state(connection)
        letters = len(ledger.dead_letters(connection))
    told = Counter(load.heard.values())
    table = Table(
        title=f"soak on {broker_kind}, seed {seed}, {seconds / 60:g} min, emulated engines", title_justify="left"
    )
    table.add_column("what")
    table.add_column("seen", justify="right")
    rows = {
        "jobs whose submit returned": len(load.heard),
        **{f"of these {state} in the ledger": count for state, count in sorted(states.items())},
        **{f"clients told {name}": count for name, count in sorted(told.items(), key=str)},
        "submits and cancels to be repeated": load.refused_by_the_broker,
        **{f"{name} killed": count for name, count in sorted(deaths.killed.items())},
        "dead letters": letters,
        **memory.rows(),
    }
    for what, seen in rows.items():
        table.add_row(what, str(seen))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
