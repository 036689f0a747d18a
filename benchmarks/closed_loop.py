"""Does retraining pay? The shipped policy retrained during the run, against itself frozen and against the rules.

    python benchmarks/closed_loop.py                # about 20 minutes, all six in parallel
    python benchmarks/closed_loop.py --jobs 300     # shorter, and noisier

Real processes over RabbitMQ, with a virtual host for each arm; emulated nodes, scaled time. All arms run at once, so
that other load on the machine affects all of them. Every arm gets the same arrivals on nodes of speeds 1:5, which are
unknown at first. Half-way the fastest node throttles to a fifth. What counts is the mean delay of the last third
of the jobs, when the retrained policy has had time to be promoted. Ratios are those of the retrained run to the others;
their interval is a paired bootstrap over blocks of 20 consecutive jobs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import Settings, load_settings
from planner.cli.bench.load import Arrival, EmulatedNode, arrivals, emulated_nodes
from planner.cli.bench.run import Measured, run
from planner.cli.processes import retrain_command
from planner.cli.report.figure import draw
from planner.ledger.ledger import Ledger
from planner.ledger.report_data import read_report
from rl_agent.policy.registry import policies
from rl_agent.retraining.gate import compare

RETRAINED = "retrained"
FROZEN = "shipped, frozen"
PLACER_OF = {
    RETRAINED: "lad-ts",
    FROZEN: "lad-ts",
    "shared-queue": "shared-queue",
    "weighted-round-robin": "weighted-round-robin",
    "least-backlog": "least-backlog",
    "earliest-completion": "earliest-completion",
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One run: placer, nodes, jobs, and where the picture of `ladle report` goes."""

    name: str
    settings: Settings
    nodes: Sequence[EmulatedNode]
    jobs: Sequence[Arrival]
    load_s: float
    report: Path | None

    def measure(self) -> tuple[list[Measured], list[str]]:
        """Run it; return its jobs, and a line for each candidate of retraining."""
        lines: list[str] = []
        beside = {"retrain": retrain_command()} if self.name == RETRAINED else {}

        def look(settings: Settings) -> None:
            ledger = Ledger(settings.database)
            with ledger.transaction(reads=True) as connection:
                lines.extend(f"{row['version']} {row['state']}: {row['reason']}" for row in policies(connection))
                data = read_report(connection, 0.0)
            ledger.close()
            if self.report is not None and data is not None:
                self.report.write_bytes(draw(data))

        placer = PLACER_OF[self.name]
        after = look if self.name == RETRAINED else None
        jobs = run(self.settings, placer, self.nodes, self.jobs, self.load_s, lambda _done: None, beside, after)
        return jobs, lines


def throttled(nodes: Sequence[EmulatedNode], from_s: float) -> list[EmulatedNode]:
    """Return the nodes; the fastest takes five times as long from `from_s` seconds after its start."""
    fastest = min(nodes, key=lambda node: node.s_per_step)
    return [replace(node, drift=f"{from_s:.1f}:5") if node is fastest else node for node in nodes]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=700)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument(
        "--load", type=float, default=0.55, help="before the throttling, which costs a third of the speed"
    )
    parser.add_argument("--load-s", type=float, default=4.0)
    parser.add_argument("--time-scale", type=float, default=0.75)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=60.0, help="wall seconds between two rounds of retraining")
    parser.add_argument("--seconds", type=float, default=40.0, help="learning time of a round, wall seconds")
    parser.add_argument("--start", type=float, default=40.0, help="wall seconds that nodes need to start, about")
    parser.add_argument("--report", type=Path, help="draw `ladle report` of the retrained run to this PNG")
    parser.add_argument("--only", nargs="*", default=list(PLACER_OF))
    options = parser.parse_args()
    settings = load_settings().with_changes(
        time_scale=options.time_scale,
        node_timeout_s=60,
        retrain_every_s=options.every,
        retrain_seconds=options.seconds,
    )
    fleet = emulated_nodes(options.nodes)
    jobs = arrivals(fleet, options.jobs, options.load, options.seed)
    nodes = throttled(fleet, jobs[len(jobs) // 2].at_s + options.start / options.time_scale)
    with tempfile.TemporaryDirectory(prefix="ladle-loop-") as folder, PrivateRabbitMQ(Path(folder)) as broker:
        arms = [
            Arm(
                name=name,
                settings=settings.with_changes(broker_url=new_vhost(broker, f"arm-{number}")),
                nodes=nodes,
                jobs=jobs,
                load_s=options.load_s,
                report=options.report,
            )
            for number, name in enumerate(options.only)
        ]
        print_table(measure_all(arms))


def new_vhost(broker: PrivateRabbitMQ, name: str) -> str:
    """Return the URL of a new virtual host."""
    broker.rabbitmqctl("add_vhost", name)
    broker.rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
    return broker.url.removesuffix("/") + name


def measure_all(arms: Sequence[Arm]) -> dict[str, list[Measured]]:
    """Run all arms at the same time, each in a process of its own, and print what became of every candidate."""
    measured: dict[str, list[Measured]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(arms), mp_context=context) as pool:
        for arm, (jobs, lines) in zip(arms, pool.map(Arm.measure, arms), strict=True):
            measured[arm.name] = jobs
            for line in reversed(lines):
                print(f"  {line}", flush=True)
    return measured


def print_table(measured: Mapping[str, Sequence[Measured]]) -> None:
    """Print each run's thirds, and the last third's ratio to the retrained run."""
    print(f"\n{'':>22}{'first':>9}{'second':>9}{'last third':>12}{'p95':>8}   retrained / it (95 %)")
    for name, jobs in measured.items():
        delay_s = np.array([one.delay_s for one in jobs])
        thirds = np.array_split(delay_s, 3)
        row = f"{name:>22}{thirds[0].mean():9.2f}{thirds[1].mean():9.2f}{thirds[2].mean():12.2f}"
        row += f"{np.quantile(thirds[2], 0.95):8.2f}"
        if name != RETRAINED and RETRAINED in measured:
            own = np.array_split(np.array([one.delay_s for one in measured[RETRAINED]]), 3)[2]
            found = compare(name, [own], [thirds[2]])
            row += f"   {found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})"
        print(row)


if __name__ == "__main__":
    main()
