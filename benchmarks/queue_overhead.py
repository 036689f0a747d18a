"""What Ladle's way of a job costs beside plain Celery on one queue, measured side by side in one run.

    python benchmarks/queue_overhead.py [--broker amqp://guest:guest@localhost:5672//] [--database postgresql://...]

No image is drawn (a no-op engine). Plain Celery has a quorum queue, confirms and late acknowledgement, and its results
in the same kind of database (the same durability as Ladle's), or by transient message (less of it). Sustained
rate: from the first submit until the client knows that all are done. Idle latency: from submit until the task starts;
for Ladle until the client *hears* that it starts, one message later than it did. The sides take turns, `--rounds`
times; the table gives medians. Whatever else the machine does is in the figures: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult
from plain_celery import QUEUE, make_app
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from broker_config.settings import Settings
from planner import Client
from planner.cli.bench.load import EmulatedNode
from planner.cli.bench.run import clear_broker
from planner.cli.processes import CELERY, POOL, Processes, planner_command, worker_command
from planner.cli.tables import read_nodes
from planner.ledger.ledger import Ledger

NODES = ("one", "two", "three")
SAME = "plain Celery, results in the same database"
LESS = "plain Celery, results by transient message"
LADLE = "Ladle"
IDLE_JOBS = 40  # their median is shown: 2 s of pauses, and outliers of a busy machine do not move it
IDLE_PAUSE_S = 0.05
START_TIMEOUT_S = 60.0


def measure_ladle(settings: Settings, jobs: int) -> dict[str, float]:
    """Return rate, idle latency and the planner's peak memory."""
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        planner = processes.start("planner", planner_command())
        for node in NODES:
            processes.start(node, worker_command(node))
        ledger = Ledger(settings.database)
        ledger.migrate()
        wait_until(lambda: sum(row["state"] == "READY" for row in read_nodes(ledger)) == len(NODES))
        ledger.close()
        request = {"prompt": "nothing", "size": "8x8", "num_inference_steps": 1, "seed": 0}
        with Client(settings) as client:
            latencies = []
            for _ in range(IDLE_JOBS):
                started = time.monotonic()
                handle = client.submit(**request)
                for event in handle.events():
                    if event.kind == "started":
                        latencies.append(time.monotonic() - started)
                time.sleep(IDLE_PAUSE_S)
            started = time.monotonic()
            for handle in client.submit_many([request] * jobs):
                handle.result(300)
            rate = jobs / (time.monotonic() - started)
        assert planner.process is not None
        return {
            "jobs/s": rate,
            "idle latency ms": 1e3 * statistics.median(latencies),
            "planner MiB": peak_mib(planner.process.pid),
        }


def measure_plain(settings: Settings, results: str, jobs: int) -> dict[str, float]:
    """Return rate and idle latency of plain Celery; the client collects every result."""
    app = make_app(settings.broker, results)
    noop = app.tasks["plain.noop"]
    variables = {"PLAIN_BROKER": settings.broker, "PLAIN_RESULTS": results, "PYTHONPATH": str(Path(__file__).parent)}
    with app.connection_for_write() as connection:
        bound = QUEUE(connection.default_channel)
        bound.declare()
        bound.purge()
    with Processes(settings=settings, logs=settings.data_dir / "logs") as processes:
        for node in NODES:
            command = [*CELERY, "-A", "plain_celery", "worker", "-n", f"plain-{node}@%h", *POOL]
            processes.start(f"plain-{node}", command, **variables)
        with app.connection_for_read() as connection:
            bound = QUEUE(connection.default_channel)
            wait_until(lambda: bound.queue_declare(passive=True).consumer_count == len(NODES))
        latencies = []
        for _ in range(IDLE_JOBS):
            started = time.monotonic()
            latencies.append(noop.delay().get(30) - started)
            time.sleep(IDLE_PAUSE_S)
        started = time.monotonic()
        with app.connection_for_write() as connection, connection.channel() as channel:
            producer = app.amqp.Producer(channel)
            sent = [noop.apply_async(producer=producer, retry=False) for _ in range(jobs)]
        wait_for_results(app, results, sent)
        rate = jobs / (time.monotonic() - started)
    return {"jobs/s": rate, "idle latency ms": 1e3 * statistics.median(latencies)}


def wait_for_results(app: Celery, results: str, sent: list[AsyncResult]) -> None:
    """Wait for all results the cheapest way: by message, or by counting the rows of the result table."""
    if not results.startswith("db+"):
        for result in sent:
            result.get(300)
        return
    engine = create_engine(results.removeprefix("db+"))
    finished = text("SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'")

    def is_done() -> bool:
        with engine.connect() as connection:
            return int(connection.scalar(finished) or 0) >= len(sent) + IDLE_JOBS

    wait_until(is_done, 300)
    engine.dispose()


def wait_until(is_so: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait, politely."""
    give_up = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > give_up:
            raise SystemExit("timed out; look into the logs folder")
        time.sleep(0.05)


def peak_mib(pid: int) -> float:
    """Return the peak resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def psycopg(url: str) -> str:
    """Return a database URL with the driver that both sides use."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def fresh_database(url: str, name: str) -> str:
    """Make an empty database on the server of `url` and return its URL."""
    admin = create_engine(psycopg(url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return f"{url.rsplit('/', 1)[0]}/{name}"


def compare(title: str, broker: str, database: str, jobs: int, rounds: int) -> dict[str, dict[str, float]]:
    """Measure all sides in turn, print the table and return the medians."""
    sides: dict[str, list[dict[str, float]]] = {SAME: [], LESS: [], LADLE: []}
    for round_ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="ladle-overhead-") as folder:
            settings = Settings(
                data_dir=Path(folder),
                broker_url=broker,
                database_url=fresh_database(database, "ladle_overhead") if database else "",
                engine="emulated",
                emulated_s_per_unit=0,
                grace_s=1,
            )
            rows = fresh_database(database, "plain_overhead") if database else f"sqlite:///{folder}/results.db"
            clear_broker(settings, [EmulatedNode(name=node, s_per_step=0) for node in NODES])
            sides[SAME].append(measure_plain(settings, f"db+{psycopg(rows)}", jobs))
            if broker:  # the embedded broker has no use for a result channel: every process reads the same file
                sides[LESS].append(measure_plain(settings, "rpc://", jobs))
            sides[LADLE].append(measure_ladle(settings, jobs))
        print(f"  {title}, round {round_ + 1} of {rounds}", file=sys.stderr)
    medians = {
        side: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for side, measured in sides.items()
        if measured
    }
    print(f"\n{title}: {len(NODES)} nodes, {jobs} no-op jobs, medians of {rounds} rounds")
    print(f"{'':44}{'jobs/s':>8}{'idle latency':>15}{'Ladle / this':>15}{'Ladle - this':>15}")
    ours = medians[LADLE]
    for side, one in medians.items():
        ratio, more = ours["jobs/s"] / one["jobs/s"], ours["idle latency ms"] - one["idle latency ms"]
        print(f"{side:44}{one['jobs/s']:8.0f}{one['idle latency ms']:12.1f} ms{ratio:15.2f}{more:+12.1f} ms")
    print(f"peak memory of the planner: {ours['planner MiB']:.0f} MiB")
    return medians


def main() -> None:
    """Compare on both brokers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="amqp://guest:guest@localhost:5672//", help="RabbitMQ; empty: skip it")
    parser.add_argument("--database", default="postgresql://postgres@localhost/postgres", help="empty: SQLite")
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the medians here as well")
    options = parser.parse_args()
    medians = {}
    if options.broker:
        try:
            medians["RabbitMQ"] = compare("RabbitMQ", options.broker, options.database, options.jobs, options.rounds)
        except DatabaseError as exc:
            raise SystemExit(f"no database at {options.database}: {exc}; try --database ''") from exc
    medians["embedded"] = compare("embedded (SQLite)", "", "", options.jobs // 3, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
