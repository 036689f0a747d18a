"""EdgePlacement-v1: the learned placer beside every rival, on the same arrivals, over loads and fleet sizes.

    python benchmarks/edge_placement.py --out results.csv

Every placer meets the same scenarios (nodes, jobs, throttling, absences, noise), so ratios are paired; intervals are
bootstrapped over scenarios. All hardware is emulated. The seeds are used for nothing else: not for training, not for
choosing a policy, not for tuning a rule.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rl_agent.edge_placement.genai_trace import GenAITraceSpec
from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import Placement, Placer
from rl_agent.placing.rules import RULES, EarliestCompletionPlacer, RandomPlacer
from rl_agent.policy.learned_placer import LearnedPlacer, shipped_policy

EVALUATION_SEED = 500_000  # training and validation draw from below it: see rl_agent/edge_placement/train.py
REFERENCE = "earliest completion"
TRACE = "GenAITrace-v1"
LOADS = (0.5, 0.7, 0.9, 1.1)  # the last is more than the fleet can do: there the queue only grows

COLUMNS = (
    *("mean_s", "p95_s", "p99_s"),
    *("mean_ratio", "p95_ratio", "p99_ratio", "mean_ratio_low", "mean_ratio_high", "worst_mean_ratio"),
    "wall_s",
)
"""What is measured of a placer: delays, their ratios to the reference, interval of the first, worst scenario."""


@dataclass(frozen=True)
class Rival:
    """A placer and the planner's settings under which it is strongest."""

    make: Callable[[], Placer]
    window: float = 2
    ageing: float = 2.0


class BlindCompletionPlacer(EarliestCompletionPlacer):
    """Earliest completion without knowledge of model loads."""

    name = "earliest-completion-blind"

    def place(self, observation: Observation) -> Placement:
        """Place as if every model were in every node's memory."""
        values = {**vars(observation), "cold_load_s": np.zeros_like(observation.cold_load_s)}
        return super().place(Observation(**values))


def rivals(policies: list[Path]) -> dict[str, Rival]:
    """Return all placers by their name in the table."""
    table = {
        "shared FIFO pull": Rival(lambda: RandomPlacer(seed=0), window=1, ageing=math.inf),
        "shared pull with ageing": Rival(lambda: RandomPlacer(seed=0), window=1),
        "weighted round robin": Rival(RULES["weighted-round-robin"]),
        "least backlog": Rival(RULES["least-backlog"]),
        "two choices": Rival(lambda: RULES["two-choices"](seed=0)),
        "earliest completion, loads unknown": Rival(BlindCompletionPlacer),
        "earliest completion, window 1": Rival(EarliestCompletionPlacer, window=1),
        REFERENCE: Rival(EarliestCompletionPlacer),
        "priced completion": Rival(RULES["priced-completion"]),
        "joint completion": Rival(RULES["joint-completion"]),
        "patient completion": Rival(RULES["patient-completion"]),
    }
    for number, folder in enumerate(policies):
        table[f"learned {number}"] = Rival(lambda folder=folder: LearnedPlacer(folder))  # type: ignore[misc]
    return table


def measure(rival: Rival, specs: list[ScenarioSpec], seeds: list[int]) -> np.ndarray:
    """(scenarios, 3) mean, p95 and p99 of the service delay in seconds."""
    results = []
    for spec, seed in zip(specs, seeds, strict=True):
        delay_s = Simulator(spec.draw(seed), window=rival.window, ageing=rival.ageing).run(rival.make())
        results.append([delay_s.mean(), *np.percentile(delay_s, [95, 99])])
    return np.array(results)


def interval(values: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of means over paired scenarios."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(values), size=(2000, len(values)))
    ratios = values[draws].mean(axis=1) / reference[draws].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def scenario_specs(family: str, nodes: int, load: float, count: int, jobs_per_node: int) -> list[ScenarioSpec]:
    """Return the specifications of paired scenarios; of EdgePlacement-v1, half of them bursty."""
    if family == TRACE:
        return [GenAITraceSpec(n_nodes=nodes, load=load, jobs_per_node=jobs_per_node)] * count
    return [
        ScenarioSpec(n_nodes=nodes, load=load, jobs_per_node=jobs_per_node, arrivals=("poisson", "bursty")[n % 2])
        for n in range(count)
    ]


def compared(
    wanted: Mapping[str, Rival], specs: list[ScenarioSpec], seeds: list[int]
) -> Iterator[tuple[str, list[float]]]:
    """Yield for each placer its `COLUMNS`."""
    reference = measure(wanted[REFERENCE], specs, seeds)
    for name, rival in wanted.items():
        begun = time.perf_counter()
        values = reference if name == REFERENCE else measure(rival, specs, seeds)
        ratios = values.mean(axis=0) / reference.mean(axis=0)
        low, high = interval(values[:, 0], reference[:, 0])
        worst = float((values[:, 0] / reference[:, 0]).max())
        yield name, [*values.mean(axis=0), *ratios, low, high, worst, time.perf_counter() - begun]


def arguments_of_the_command() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", type=Path, action="append", help="policy folder; may be repeated")
    parser.add_argument("--family", choices=("EdgePlacement-v1", TRACE), default="EdgePlacement-v1")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10])
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS))
    parser.add_argument("--scenarios", type=int, default=40, help="per load and fleet size")
    parser.add_argument("--jobs-per-node", type=int, default=60)
    parser.add_argument("--seed", type=int, default=EVALUATION_SEED, help="of the first scenario")
    parser.add_argument("--only", nargs="+", default=[], help="placers whose name contains one of these")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table; write it as CSV too."""
    arguments = arguments_of_the_command()
    only = arguments.only or [""]  # every name contains the empty one
    table = rivals(arguments.policy or [shipped_policy()])
    wanted = {name: r for name, r in table.items() if name == REFERENCE or any(part in name for part in only)}
    rows = []
    print("| nodes | load | placer | mean s | p95 s | p99 s | mean / EC [95 %] | p95 / EC | p99 / EC | worst |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for nodes in arguments.nodes:
        for load in arguments.loads:
            specs = scenario_specs(arguments.family, nodes, load, arguments.scenarios, arguments.jobs_per_node)
            seeds = [arguments.seed + 1000 * nodes + n for n in range(arguments.scenarios)]
            for name, values in compared(wanted, specs, seeds):
                mean, p95, p99, ratio, p95_ratio, p99_ratio, low, high, worst, _ = values
                print(
                    f"| {nodes} | {load} | {name} | {mean:.2f} | {p95:.1f} | {p99:.1f} "
                    f"| {ratio:.3f} [{low:.3f}, {high:.3f}] | {p95_ratio:.3f} | {p99_ratio:.3f} | {worst:.2f} |",
                    flush=True,
                )
                rows.append([nodes, load, name, *values])
    if arguments.out:
        with arguments.out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["nodes", "load", "placer", *COLUMNS])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
