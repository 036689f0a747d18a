"""What the HTTP gateway costs: delay beside `AsyncClient`, requests per second, memory of requests that wait.

    python benchmarks/gateway.py [--waiting 2000] [--requests 1000] [--broker amqp://guest:guest@localhost:5672//]

No image is drawn (a no-op engine): one planner, one node and one gateway process, and the client, all on this machine.
Delay: of a job on an idle system, by gateway and `AsyncClient` in turn, so that other load affects both; medians.
Rate: as many requests at once as `AT_ONCE`, each on a connection that is kept, beside as many jobs awaited at once.
Memory: resident set of the gateway, before and while requests wait for a node that is not there yet; then it starts,
and each of them must be answered with an image of a job of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from broker_config.settings import Settings
from planner import AsyncClient
from planner.cli.bench.load import EmulatedNode
from planner.cli.bench.run import clear_broker
from planner.cli.processes import Processes, planner_command, serve_command, worker_command
from planner.cli.services import _check

FIELDS = {"prompt": "nothing", "size": "8x8", "num_inference_steps": 1, "seed": 0}
BODY = json.dumps(FIELDS).encode()
NODE = "one"
IDLE_JOBS = 40  # their median is shown: outliers of a busy machine do not move it
IDLE_PAUSE_S = 0.05
AT_ONCE = 50  # more than a planner takes into one turn at such a rate
SETTLE_S = 2.0
MIB = 2**20  # bytes


class Connection:
    """An HTTP connection that is kept."""

    async def open(self, port: int) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    async def draw(self) -> str:
        """Ask for an image; return its job's id."""
        head = f"POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(BODY)}\r\n\r\n"
        self._writer.write(head.encode() + BODY)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in answer.lower().splitlines() if "content-length" in line)
        body = await self._reader.readexactly(length)
        if " 200 " not in answer.splitlines()[0]:
            raise RuntimeError(f"{answer}\n{body.decode()}")
        return str(json.loads(body)["ladle"]["job"])

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
    jobs = await asyncio.gather(*drawing)
    if len(set(jobs)) != waiting:
        raise RuntimeError(f"{waiting} requests had {len(set(jobs))} jobs")
    for connection in (first, *others):
        connection.close()
    return {"before MiB": before_mib, "waiting MiB": during_mib}


async def idle_delays(port: int, client: AsyncClient) -> dict[str, float]:
    """Return the median delay of a job by each way."""

    async def by_client() -> None:
        await (await client.submit(**FIELDS)).result()  # type: ignore[arg-type]

    (connection,) = await connections(port, 1)
    delays: dict[str, list[float]] = {"AsyncClient ms": [], "gateway ms": []}
    for _ in range(IDLE_JOBS):
        for way, work in (("AsyncClient ms", by_client), ("gateway ms", connection.draw)):
            delays[way].append(await timed(work()) * 1e3)
            await asyncio.sleep(IDLE_PAUSE_S)
    connection.close()
    return {way: statistics.median(measured) for way, measured in delays.items()}


async def rates(port: int, client: AsyncClient, requests: int) -> dict[str, float]:
    """Return the jobs per second by each way, `AT_ONCE` of them at a time."""
    kept = await connections(port, AT_ONCE)

    async def draw_in_turn(connection: Connection) -> None:
        for _ in range(requests // AT_ONCE):
            await connection.draw()

    async def submit_in_turn() -> None:
        for _ in range(requests // AT_ONCE):
            await (await client.submit(**FIELDS)).result()  # type: ignore[arg-type]

    by_client_s = await timed(asyncio.gather(*(submit_in_turn() for _ in range(AT_ONCE))))
    by_gateway_s = await timed(asyncio.gather(*(draw_in_turn(connection) for connection in kept)))
    return {"AsyncClient jobs/s": requests / by_client_s, "gateway jobs/s": requests / by_gateway_s}


async def measure(settings: Settings, waiting: int, requests: int) -> dict[str, float]:
    """Return all figures."""
    _check(settings)
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        processes.start("planner", planner_command())
        gateway = processes.start("gateway", serve_command(settings))
        await until_listening(settings.http_port)
        assert gateway.process is not None
        pid = gateway.process.pid
        figures = await waiting_memory(
            settings.http_port, pid, waiting, lambda: processes.start(NODE, worker_command(NODE))
        )
        async with AsyncClient(settings) as client:
            figures |= await idle_delays(settings.http_port, client)
            figures |= await rates(settings.http_port, client, requests)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="", help="RabbitMQ, in a virtual host of its own; empty: the embedded one")
    parser.add_argument("--waiting", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ladle-gateway-") as folder:
        settings = Settings(
            data_dir=Path(folder),
            broker_url=options.broker,
            http_port=port,
            placer="earliest-completion",
            engine="emulated",
            emulated_s_per_unit=0,
            grace_s=1,
        )
        clear_broker(settings, [EmulatedNode(name=NODE, s_per_step=0)])
        figures = asyncio.run(measure(settings, options.waiting, options.requests))
    print(f"{options.waiting} requests wait, then {options.requests} are drawn, {AT_ONCE} at once:")
    for name, figure in figures.items():
        print(f"{name:>22}{figure:10.1f}")


if __name__ == "__main__":
    main()
