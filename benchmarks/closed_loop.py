"""Does retraining pay? The shipped policy retrained during the run, against itself frozen and against the rules.

    python -m benchmarks.closed_loop                # about 20 minutes, all arms in parallel
    python -m benchmarks.closed_loop --jobs 300     # shorter, and noisier

Real processes over RabbitMQ; emulated nodes, scaled time (`benchmarks/arms.py`). Every arm gets the same arrivals on
nodes of speeds 1:5, which are unknown at first. Half-way the fastest node throttles to a fifth. What counts is the mean
delay of the last third of the jobs, when the retrained policy has had time to be promoted. Ratios are those of the
retrained run to the others; their interval is that of batch means.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.arms import Arm, measure_all, new_vhost
from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import Settings, load_settings
from planner.cli.bench.load import EmulatedNode, arrivals, emulated_nodes
from planner.cli.bench.run import Measured
from planner.cli.processes import retrain_command
from planner.cli.report.figure import draw
from planner.ledger.ledger import Ledger
from planner.ledger.report_data import read_report
from rl_agent.policy.registry import policies
from rl_agent.retraining.gate import compare

RETRAINED = "retrained"
MIN_OUTCOMES = 20  # a round a minute, and forty jobs a minute
FROZEN = "shipped, frozen"
PLACER_OF = {
    RETRAINED: "lad-ts",
    FROZEN: "lad-ts",
    "shared-queue": "shared-queue",
    "weighted-round-robin": "weighted-round-robin",
    "least-backlog": "least-backlog",
    "earliest-completion": "earliest-completion",
    "priced-completion": "priced-completion",
    "joint-completion": "joint-completion",
}


def candidates(settings: Settings, report: Path | None) -> list[str]:
    """Return a line for each candidate of retraining, the oldest first; draw `ladle report` to `report`."""
    ledger = Ledger(settings.database)
    with ledger.transaction(reads=True) as connection:
        lines = [f"{row['version']} {row['state']}: {row['reason']}" for row in policies(connection)]
        data = read_report(connection, 0.0)
    ledger.close()
    if report is not None and data is not None:
        report.write_bytes(draw(data))
    return lines[::-1]


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
    parser.add_argument("--seconds", type=float, default=40.0, help="time of a round, gate included, wall seconds")
    parser.add_argument("--start", type=float, default=40.0, help="wall seconds that nodes need to start, about")
    parser.add_argument("--report", type=Path, help="draw `ladle report` of the retrained run to this PNG")
    parser.add_argument("--only", nargs="*", default=list(PLACER_OF))
    options = parser.parse_args()
    settings = load_settings().with_changes(
        time_scale=options.time_scale,
        node_timeout_s=60,
        retrain_every_s=options.every,
        retrain_seconds=options.seconds,
        retrain_min_outcomes=MIN_OUTCOMES,
        retrain_share=1.0,  # the run is as long as a few rounds: what an hour may use says nothing here
    )
    fleet = emulated_nodes(options.nodes)
    jobs = arrivals(fleet, options.jobs, options.load, options.seed)
    nodes = throttled(fleet, jobs[len(jobs) // 2].at_s + options.start / options.time_scale)
    with tempfile.TemporaryDirectory(prefix="ladle-loop-") as folder, PrivateRabbitMQ(Path(folder)) as broker:
        arms = {
            name: Arm(
                placer=PLACER_OF[name],
                settings=settings.with_changes(broker_url=new_vhost(broker, f"arm-{number}")),
                nodes=nodes,
                jobs=jobs,
                load_s=options.load_s,
                beside={"retrain": retrain_command()} if name == RETRAINED else {},
                look=partial(candidates, report=options.report) if name == RETRAINED else None,
            )
            for number, name in enumerate(options.only)
        }
        measured = {}
        for name, taken in measure_all(arms):
            measured[name] = taken.jobs
            print("".join(f"  {line}\n" for line in taken.notes), end="", flush=True)
        print_table(measured)


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
