"""Placers side by side over a real broker, and the same jobs in simulation: is the order of placers the same?

    python -m benchmarks.live_placers --out live.json             # two loads, 5 and 10 nodes, three seeds: an hour
    python -m benchmarks.live_placers --show live.json            # the tables of what was measured

Client, planner, workers, RabbitMQ and ledger are real. The nodes are emulated: those of `ladle bench`, two models, one
in memory. Placers run at the same time on the same machine, all or some (`benchmarks/arms.py`). The simulator plays the
same nodes and jobs without any cost of messages and processes, each planner of it knowing nothing at first.

A time scale is honest while what Ladle itself needs for a job is little beside the job. So the table has the planner's
share of a processor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arms import Arm, measure_all, new_vhost
from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import load_settings
from planner.cli.bench.load import SIDE_PX, Arrival, EmulatedNode, arrivals, emulated_nodes
from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.estimates import FloatArray, work_units
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import RULES, RandomPlacer
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.retraining.gate import compare

REFERENCE = "earliest-completion"
SHARED_QUEUE = "shared-queue"
PLACERS = (
    REFERENCE,
    "priced-completion",
    "joint-completion",
    "lad-ts",
    "weighted-round-robin",
    "least-backlog",
    SHARED_QUEUE,
)
INGRESS = "client"  # where the simulated jobs come from, over a link that costs nothing

CELL = ("nodes", "load", "time_scale")
Record = dict[str, Any]
"""What one placer did with one seed: the cell, delays, simulated delays, planner's share, the machine's own load."""


def measure(nodes: int, load: float, seed: int, options: argparse.Namespace) -> list[Record]:
    """Run all placers on one fleet and one sequence of jobs, so many at once as the options say."""
    fleet = emulated_nodes(nodes)
    jobs = arrivals(fleet, options.jobs * nodes, load, seed)
    settings = load_settings().with_changes(time_scale=options.time_scale, node_timeout_s=60)
    records = []
    with tempfile.TemporaryDirectory(prefix="ladle-live-") as folder, PrivateRabbitMQ(Path(folder)) as broker:
        step = options.at_once or len(options.only)
        for first in range(0, len(options.only), step):
            arms = {
                placer: Arm(
                    placer=placer,
                    settings=settings.with_changes(broker_url=new_vhost(broker, f"arm-{placer}")),
                    nodes=fleet,
                    jobs=jobs,
                    load_s=options.load_s,
                )
                for placer in options.only[first : first + step]
            }
            for placer, taken in measure_all(arms):
                records.append(
                    {
                        "nodes": nodes,
                        "load": load,
                        "time_scale": options.time_scale,
                        "seed": seed,
                        "placer": placer,
                        "delay_s": [round(one.delay_s, 3) for one in taken.jobs],
                        "simulated_s": simulate(placer, fleet, jobs, options.load_s).round(3).tolist(),
                        "planner_share": taken.planner_share,
                        "machine_load": os.getloadavg()[1],
                    }
                )
    return records


def simulate(placer: str, fleet: Sequence[EmulatedNode], jobs: Sequence[Arrival], load_s: float) -> FloatArray:
    """(jobs,) service delays of the same jobs on the same nodes in the simulator."""
    models = sorted({job.model for job in jobs})
    scenario = PlacementScenario(
        nodes=tuple(
            NodeProfile(
                name=node.name,
                s_per_unit=dict.fromkeys(models, node.s_per_unit),
                load_s=dict.fromkeys(models, load_s),
                link_mbit_s={INGRESS: math.inf},
            )
            for node in fleet
        ),
        jobs=tuple(_job(number, job) for number, job in enumerate(jobs)),
    )
    if placer == SHARED_QUEUE:
        return Simulator(scenario, window=1, ageing=math.inf).run(RandomPlacer(seed=0))
    return Simulator(scenario).run(_makers()[placer]())


def _job(number: int, job: Arrival) -> Job:
    units = work_units(num_inference_steps=job.image_steps, width_px=SIDE_PX, height_px=SIDE_PX, n=1)
    named = {"name": f"job-{number:06d}", "model": job.model, "ingress": INGRESS}
    return Job(arrival_s=job.at_s, units=units, input_mbit=0.0, output_mbit=0.0, **named)


def _makers() -> dict[str, Callable[[], Placer]]:
    return {**RULES, "lad-ts": LearnedPlacer}


def show(records: Sequence[Record]) -> None:
    """Print a table for each fleet and load: all seeds together, the least live mean first."""
    for nodes, load, scale in sorted({tuple(record[name] for name in CELL) for record in records}):
        of_fleet = [record for record in records if tuple(record[name] for name in CELL) == (nodes, load, scale)]
        seeds = sorted({record["seed"] for record in of_fleet})
        jobs = len(of_fleet[0]["delay_s"])
        busy = max(record["machine_load"] for record in of_fleet)
        print(f"\n{nodes} nodes, load {load}, seeds {', '.join(map(str, seeds))}, {jobs} jobs each, time scale {scale}")
        print(f"(load average of the machine: up to {busy:.0f})\n")
        print(
            "| placer | mean, s | / earliest completion (95 %) | by seed | p95 / it | p99 / it | simulated | planner |"
        )
        print("|---|---|---|---|---|---|---|---|")
        lines = [row(placer, of_fleet) for placer in dict.fromkeys(record["placer"] for record in of_fleet)]
        print("\n".join(line for _, line in sorted(lines)))


def row(placer: str, records: Sequence[Record]) -> tuple[float, str]:
    """Return a placer's live mean, and its row beside earliest completion."""
    mine = [record for record in records if record["placer"] == placer]
    theirs = [record for record in records if record["placer"] == REFERENCE]
    live, simulated = (
        [(np.array(a[name]), np.array(b[name])) for a, b in zip(mine, theirs, strict=True)]
        for name in ("delay_s", "simulated_s")
    )
    found = compare(REFERENCE, [np.concatenate([a for a, _ in live])], [np.concatenate([b for _, b in live])])
    by_seed = ", ".join(f"{a.mean() / b.mean():.2f}" for a, b in live)
    tails = [
        np.mean([np.quantile(a, q) for a, _ in live]) / np.mean([np.quantile(b, q) for _, b in live])
        for q in (0.95, 0.99)
    ]
    in_simulation = np.mean([a.mean() for a, _ in simulated]) / np.mean([b.mean() for _, b in simulated])
    share = float(np.mean([record["planner_share"] for record in mine]))
    cells = [
        placer,
        f"{found.candidate_s:.2f}",
        f"{found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})",
        by_seed,
        *(f"{tail:.2f}" for tail in tails),
        f"{in_simulation:.3f}",
        f"{share:.0%}" if share else "",
    ]
    return found.candidate_s, f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--jobs", type=int, default=60, help="per node")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.7, 0.9])
    parser.add_argument("--load-s", type=float, default=4.0, help="seconds to load a model")
    parser.add_argument("--time-scale", type=float, default=0.5)
    parser.add_argument("--at-once", type=int, default=0, help="placers that run side by side; 0: all")
    parser.add_argument("--only", nargs="+", default=list(PLACERS), help=f"placers; {REFERENCE} must be among them")
    parser.add_argument("--out", type=Path, help="JSON file to add what is measured to")
    parser.add_argument("--show", type=Path, help="measure nothing, print the tables of this file")
    options = parser.parse_args()
    records: list[Record] = []
    kept = options.show or options.out
    if kept is not None and kept.exists():
        records = json.loads(kept.read_text())
    if options.show is None:
        for load, nodes, seed in product(options.loads, options.nodes, options.seeds):
            records += measure(nodes, load, seed, options)
            if options.out is not None:
                options.out.write_text(json.dumps(records))
    show(records)


if __name__ == "__main__":
    main()
