"""What the HTTP gateway costs: beside `AsyncClient`, and beside FastAPI on plain Celery with one shared queue.

    python benchmarks/gateway.py [--waiting 2000] [--requests 1000] [--rounds 3]
        [--broker amqp://guest:guest@localhost:5672// --database postgresql://postgres@localhost/postgres]

No image is drawn (a no-op engine): one planner, one node and one gateway process, and the client, all on this machine.
FastAPI and Celery (`plain_gateway.py`) have as many processes but the planner, the same broker, and results in the same
kind of database. Both sides answer the same requests, in turn, `--rounds` times; the table has the medians.
Delay: of a job on an idle system, by gateway and `AsyncClient` in turn, so that other load affects both; medians.
Rate: as many requests at once as `AT_ONCE`, each on a connection that is kept, beside as many jobs awaited at once.
Memory: resident set of the gateway, before and while requests wait for a node that is not there yet; then it starts,
and each of them must be answered with an image of a job of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from plain_celery import QUEUE, make_app
from queue_overhead import fresh_database, psycopg

from broker_config.settings import Settings
from planner import AsyncClient
from planner.cli.bench.load import EmulatedNode
from planner.cli.bench.run import clear_broker
from planner.cli.processes import CELERY, POOL, Processes, planner_command, serve_command, worker_command
from planner.cli.services import _check

FIELDS = {"prompt": "nothing", "size": "8x8", "num_inference_steps": 1, "seed": 0}
BODY = json.dumps(FIELDS).encode()
HEAD = (
    "POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
)
NODE = "one"
IDLE_JOBS = 40  # their median is shown: outliers of a busy machine do not move it
IDLE_PAUSE_S = 0.05
AT_ONCE = 50  # more than a planner takes into one turn at such a rate
SETTLE_S = 2.0
MIB = 2**20  # bytes
Way = Callable[[], Awaitable[object]]


class Connection:
    """An HTTP connection that is kept."""

    async def open(self, port: int) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    async def draw(self) -> dict[str, Any]:
        """Ask for an image; return the answer's body."""
        self._writer.write(HEAD.encode() + BODY)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in answer.lower().splitlines() if "content-length" in line)
        body = await self._reader.readexactly(length)
        if " 200 " not in answer.splitlines()[0]:
            raise RuntimeError(f"{answer}\n{body.decode()}")
        answered: dict[str, Any] = json.loads(body)
        base64.b64decode(answered["data"][0]["b64_json"])
        return answered

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def connections(port: int, count: int) -> list[Connection]:
    """Return open connections."""
    made = [Connection() for _ in range(count)]
    for connection in made:
        await connection.open(port)
    return made


async def timed(work: Awaitable[object]) -> float:
    """Return the seconds that `work` takes."""
    began_at = time.monotonic()
    await work
    return time.monotonic() - began_at


async def until_listening(port: int) -> None:
    """Wait for the gateway."""
    while True:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return


def resident_mib(pid: int) -> float:
    """Return the resident set of a process."""
    return float(psutil.Process(pid).memory_info().rss / MIB)


async def waiting_memory(port: int, pid: int, waiting: int, start_node: Callable[[], object]) -> dict[str, float]:
    """Return the gateway's memory before and while requests wait; then let a node draw them."""
    (first, *others) = await connections(port, waiting)
    before_mib = resident_mib(pid)
    drawing = [asyncio.ensure_future(connection.draw()) for connection in (first, *others)]
    await asyncio.sleep(SETTLE_S + waiting / 200)
    during_mib = resident_mib(pid)
    start_node()
    jobs = {answer["ladle"]["job"] for answer in await asyncio.gather(*drawing)}
    if len(jobs) != waiting:
        raise RuntimeError(f"{waiting} requests had {len(jobs)} jobs")
    for connection in (first, *others):
        connection.close()
    return {"before MiB": before_mib, "waiting MiB": during_mib}


async def idle_delays(ways: Mapping[str, Way]) -> dict[str, float]:
    """Return the median delay in milliseconds of a job on an idle system by each way, taking turns."""
    delays: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(IDLE_JOBS):
        for way, draw in ways.items():
            delays[way].append(await timed(draw()) * 1e3)
            await asyncio.sleep(IDLE_PAUSE_S)
    return {f"{way}, idle ms": statistics.median(measured) for way, measured in delays.items()}


async def rate(requests: int, draws: Sequence[Way]) -> float:
    """Return the jobs per second while each of `draws` draws one after another."""

    async def in_turn(draw: Way) -> None:
        for _ in range(requests // len(draws)):
            await draw()

    return requests / await timed(asyncio.gather(*(in_turn(draw) for draw in draws)))


async def http_rate(port: int, requests: int) -> float:
    """Return the same for `AT_ONCE` connections, opened now: a server closes those that are silent."""
    return await rate(requests, [connection.draw for connection in await connections(port, AT_ONCE)])


async def measure_ladle(settings: Settings, waiting: int, requests: int) -> dict[str, float]:
    """Return the figures of `AsyncClient` and Ladle's gateway."""
    _check(settings)
    port = settings.http_port
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        processes.start("planner", planner_command())
        gateway = processes.start("gateway", serve_command(settings))
        await until_listening(port)
        assert gateway.process is not None
        pid = gateway.process.pid
        figures = await waiting_memory(port, pid, waiting, lambda: processes.start(NODE, worker_command(NODE)))
        async with AsyncClient(settings) as client:

            async def by_client() -> None:
                await (await client.submit(**FIELDS)).result()  # type: ignore[arg-type]

            (kept,) = await connections(port, 1)
            figures |= await idle_delays({"AsyncClient": by_client, "gateway": kept.draw})
            figures["AsyncClient, jobs/s"] = await rate(requests, [by_client] * AT_ONCE)
        figures["gateway, jobs/s"] = await http_rate(port, requests)
    return figures


async def measure_plain(settings: Settings, results: str, requests: int) -> dict[str, float]:
    """Return the figures of FastAPI and plain Celery."""
    app = make_app(settings.broker, results)
    variables = {"PLAIN_BROKER": settings.broker, "PLAIN_RESULTS": results, "PYTHONPATH": str(Path(__file__).parent)}
    with app.connection_for_write() as connection:
        bound = QUEUE(connection.default_channel)
        bound.declare()
        bound.purge()
    serve = [sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--port", str(settings.http_port)]
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        processes.start("plain", [*CELERY, "-A", "plain_celery", "worker", "-n", "plain@%h", *POOL], **variables)
        processes.start("fastapi", [*serve, "plain_gateway:gateway"], **variables)
        await until_listening(settings.http_port)
        (kept,) = await connections(settings.http_port, 1)
        await kept.draw()  # Celery makes its tables with the first result
        figures = await idle_delays({"FastAPI + Celery": kept.draw})
        figures["FastAPI + Celery, jobs/s"] = await http_rate(settings.http_port, requests)
    return figures


async def measure(options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Return the figures of one round."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    settings = Settings(
        data_dir=Path(folder),
        broker_url=options.broker,
        database_url=fresh_database(options.database, "ladle_gateway") if options.database else "",
        http_port=port,
        placer="earliest-completion",
        engine="emulated",
        emulated_s_per_unit=0,
        grace_s=1,
    )
    rows = fresh_database(options.database, "plain_gateway") if options.database else f"sqlite:///{folder}/results.db"
    clear_broker(settings, [EmulatedNode(name=NODE, s_per_step=0)])
    ours = await measure_ladle(settings, options.waiting, options.requests)
    return ours | await measure_plain(settings, f"db+{psycopg(rows)}", options.requests)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="", help="RabbitMQ, in a virtual host of its own; empty: the embedded one")
    parser.add_argument("--database", default="", help="a PostgreSQL server; empty: SQLite")
    parser.add_argument("--waiting", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="ladle-gateway-") as folder:
            rounds.append(asyncio.run(measure(options, folder)))
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(f"{options.waiting} requests wait, then {options.requests} are drawn, {AT_ONCE} at once:")
    for name, figure in medians.items():
        print(f"{name:>28}{figure:10.1f}")
    ratio = medians["gateway, jobs/s"] / medians["FastAPI + Celery, jobs/s"]
    more_ms = medians["gateway, idle ms"] - medians["AsyncClient, idle ms"]
    print(f"gateway / FastAPI + Celery: {ratio:.2f} in jobs/s; gateway - AsyncClient: {more_ms:.1f} ms")


if __name__ == "__main__":
    main()
