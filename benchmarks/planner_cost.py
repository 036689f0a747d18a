"""What one job costs the planner, by the number of WAITING jobs and by the number of nodes.

    python benchmarks/planner_cost.py

One planner in this process, a SQLite ledger on disk, no broker (a publisher in memory), no image. Every job goes
through submit, place, publish and record, in batches of `--batch` as they form under load. The cost is processor time
of this process per job; the table shows it as a ratio to the first row, measured side by side in one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker_config.memory_publisher import MemoryPublisher
from broker_config.messages import ImageRequest, ModelSpeed, NodeReport, Outcome, StoredImage, Submission, Timings
from broker_config.settings import Settings
from planner.ledger.ledger import Ledger
from planner.serving.placers import make_placer
from planner.store import Store
from planner.turns import intake, recorder, watch
from planner.turns.core import Planner

WAITING = (10, 100, 1_000, 10_000)  # a cost that grows with the queue shows over three decades
NODES = (3, 10, 30, 100, 300)  # a cost that grows with the fleet shows over two
PNG = b"\x89PNG\r\n\x1a\n"
IMAGE = StoredImage.inline(PNG, 0)


def measure(*, waiting: int, nodes: int, jobs: int, batch: int, placer: str, clients: int) -> float:
    """Return milliseconds of processor time per job while `waiting` jobs wait for `nodes` busy nodes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), placer=placer)
        ledger = Ledger(settings.database)
        ledger.migrate()
        store = Store(settings.store, inline_mib=1)
        publisher = MemoryPublisher()
        planner = Planner(settings, ledger, publisher, make_placer(settings))
        watch.report(planner, store, [report(index) for index in range(nodes)])
        numbers = iter(range(10**9))
        submit(planner, store, numbers, waiting + int(settings.window) * nodes, clients)
        finished = 0
        publisher.sent.clear()
        started = time.process_time()
        while finished < jobs:
            done = running(planner, batch)
            recorder.record(planner, store, [outcome(*key) for key in done])
            submit(planner, store, numbers, len(done), clients)
            finished += len(done)
            publisher.sent.clear()
        cost = time.process_time() - started
        ledger.close()
        return 1e3 * cost / finished


def running(planner: Planner, batch: int) -> list[tuple[str, int, str]]:
    """Return job, attempt and node of the first attempts that nodes hold, at most `batch`."""
    heads = [(node.head, node.name) for node in planner.book.cluster.nodes.values()]
    return [(head.job, head.number, node) for head, node in heads if head is not None][:batch]


def submit(planner: Planner, store: Store, numbers: Iterator[int], count: int, clients: int) -> None:
    """Submit `count` jobs of unlike size in messages of 100, of `clients` clients in turn."""
    for start in range(0, count, 100):
        jobs = [submission(next(numbers), clients) for _ in range(start, min(start + 100, count))]
        intake.submit(planner, store, [(job, None) for job in jobs])


def submission(number: int, clients: int) -> dict[str, Any]:
    """Return the wire form of one submission."""
    request = ImageRequest(
        model="tiny", prompt="nothing", width_px=64, height_px=64, num_inference_steps=1 + number % 16, seed=number
    )
    return Submission(job=f"job-{number}", client=f"bench-{number % clients}", request=request).to_wire()


def report(index: int) -> dict[str, Any]:
    """Return the wire form of one node's report."""
    speed = ModelSpeed(load_s=1.0, s_per_unit=1.0 + index % 5)
    return NodeReport(
        node=f"node-{index}",
        instance=f"instance-{index}",
        hostname="here",
        state="ready",
        resident=("tiny",),
        speeds={"tiny": speed},
        interval_s=2.0,
    ).to_wire()


def outcome(job: str, attempt: int, node: str) -> dict[str, Any]:
    """Return the wire form of one outcome."""
    return Outcome(
        job=job, attempt=attempt, node=node, result="done", images=(IMAGE,), timings=Timings(generation_s=0.01)
    ).to_wire()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clients", type=int, default=1, help="who submit in turn, each with a share of its own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--placer", default="earliest-completion")
    options = parser.parse_args()
    common = {"jobs": options.jobs, "batch": options.batch, "placer": options.placer, "clients": options.clients}
    by_waiting: dict[int, list[float]] = {count: [] for count in WAITING}
    by_nodes: dict[int, list[float]] = {count: [] for count in NODES}
    for _ in range(options.rounds):
        for waiting, costs in by_waiting.items():
            costs.append(measure(waiting=waiting, nodes=10, **common))
        for nodes, costs in by_nodes.items():
            costs.append(measure(waiting=1000, nodes=nodes, **common))
    for title, table in (("WAITING jobs (10 nodes)", by_waiting), ("nodes (1,000 WAITING jobs)", by_nodes)):
        print(f"\n{options.placer}, batches of {options.batch}: {title}")
        print(f"{'':>10}{'ms per job':>12}{'ratio to first':>16}")
        medians = {count: statistics.median(costs) for count, costs in table.items()}
        first = next(iter(medians.values()))
        for count, cost in medians.items():
            print(f"{count:>10,}{cost:12.2f}{cost / first:16.2f}")


if __name__ == "__main__":
    main()
