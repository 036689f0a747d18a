"""Does the loop close? The shipped policy retrained during the run, against itself frozen and against the rules.

    python benchmarks/closed_loop.py                # about 35 minutes: seven runs of five
    python benchmarks/closed_loop.py --jobs 300     # shorter, and noisier

Real processes over the broker of LADLE_BROKER_URL, emulated nodes, scaled time. Every run gets the same arrivals on
nodes of speeds 1:5; half-way the fastest node throttles to a fifth. Judged is the mean service delay of the last third
of the jobs, by when the retrained policy has had time to be promoted. The interval is a paired bootstrap over blocks
of 20 consecutive jobs, as a ratio to the retrained run.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from broker_config.settings import Settings, load_settings
from planner.cli.bench_load import EmulatedNode, arrivals, emulated_nodes
from planner.cli.bench_run import Measured, run
from planner.cli.processes import retrain_command
from planner.cli.report_figure import draw
from planner.ledger import Ledger
from planner.report_data import read_report
from rl_agent.policy_registry import policies
from rl_agent.retraining.gate import compare

RETRAINED = "retrained"
FROZEN = "shipped, frozen"
RIVALS = {
    FROZEN: "lad-ts",
    "shared-queue": "shared-queue",
    "least-backlog": "least-backlog",
    "earliest-completion": "earliest-completion",
}
START_S = 12.0
"""Wall seconds between the start of a node and the first arrival, about."""


def throttled(nodes: Sequence[EmulatedNode], half_s: float, time_scale: float) -> list[EmulatedNode]:
    """Return the nodes, the fastest of which takes five times as long from half-way on."""
    fastest = min(nodes, key=lambda node: node.s_per_step)
    drift = f"{half_s + START_S / time_scale:.1f}:5"
    return [replace(node, drift=drift) if node is fastest else node for node in nodes]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=700)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--load", type=float, default=0.55, help="before the throttling; it takes a third of the speed")
    parser.add_argument("--load-s", type=float, default=4.0)
    parser.add_argument("--time-scale", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=45.0, help="a round of retraining so often, wall seconds")
    parser.add_argument("--seconds", type=float, default=25.0, help="learning time of a round, wall seconds")
    parser.add_argument("--report", type=Path, help="draw `ladle report` of the retrained run to this PNG")
    parser.add_argument("--only", nargs="*", default=[RETRAINED, *RIVALS])
    options = parser.parse_args()
    settings = load_settings().with_changes(
        time_scale=options.time_scale,
        node_timeout_s=60,
        retrain_every_s=options.every,
        retrain_seconds=options.seconds,
    )
    fleet = emulated_nodes(options.nodes)
    jobs = arrivals(fleet, options.jobs, options.load, options.seed)
    nodes = throttled(fleet, jobs[len(jobs) // 2].at_s, options.time_scale)
    measured: dict[str, list[Measured]] = {}
    for name in options.only:
        placer = RIVALS.get(name, "lad-ts")
        beside = {"retrain": retrain_command()} if name == RETRAINED else {}
        after = partial(show_policies, options.report) if name == RETRAINED else None
        measured[name] = run(settings, placer, nodes, jobs, options.load_s, lambda _done: None, beside, after)
        print(f"{name}: mean {np.mean([one.delay_s for one in measured[name]]):.2f} s", flush=True)
    print_table(measured)


def show_policies(report: Path | None, settings: Settings) -> None:
    """Print what became of every candidate, and draw the report."""
    ledger = Ledger(settings.database)
    with ledger.transaction(reads=True) as connection:
        versions = policies(connection)
        data = read_report(connection, 0.0)
    ledger.close()
    for row in reversed(versions):
        print(f"  {row['version']} {row['state']}: {row['reason']}")
    if report is not None and data is not None:
        report.write_bytes(draw(data))


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
