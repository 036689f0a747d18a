"""How often results come within what was promised: over families of scenarios and loads, or over a ledger.

    python benchmarks/eta_coverage.py                       # every family, loads .1 to 1.1, 3 and 10 nodes
    python benchmarks/eta_coverage.py --ledger sqlite:///run/ladle.db

Of the results, 45 to 55 % should come within the promised p50 and 87 to 93 % within the p90, when a job is accepted and
when it is placed. Forecasts and their calibration are the planner's own code, which begins each scenario knowing
nothing. All hardware of the scenarios is emulated; their seeds are used for nothing else.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from planner.calibration import Calibration, Eta, Stage
from planner.ledger.ledger import Ledger
from planner.ledger.report_data import read_coverage
from planner.state.eta import foretold_alone_s, foretold_behind_s, foretold_when_placed_s
from rl_agent.edge_placement.genai_trace import GenAITraceSpec
from rl_agent.edge_placement.scenario import Job, PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.placing.observation import JobView, Observation
from rl_agent.placing.rules import RULES

SEED = 940_000  # of the first scenario: used for nothing else, from here to 955,000
LOADS = (0.1, 0.5, 0.7, 0.9, 1.1)  # from an idle fleet to a queue that only grows
PLACERS = ("priced-completion", "joint-completion")
FAMILIES: dict[str, Callable[[int, float], ScenarioSpec]] = {
    "EdgePlacement-v1, Poisson": lambda nodes, load: ScenarioSpec(n_nodes=nodes, load=load),
    "EdgePlacement-v1, bursty": lambda nodes, load: ScenarioSpec(n_nodes=nodes, load=load, arrivals="bursty"),
    "GenAITrace-v1": lambda nodes, load: GenAITraceSpec(n_nodes=nodes, load=load),
}
P50_WITHIN = (0.45, 0.55)  # a promise as good as one can tell within some hundred results
P90_WITHIN = (0.87, 0.93)  # likewise


class ForetellingSimulator(Simulator):
    """A simulator whose planner also makes promises.

    Attributes:
        ended: of each finished prediction its stage, the promise, and the seconds it took.
    """

    def __init__(self, scenario: PlacementScenario) -> None:
        super().__init__(scenario)
        self.calibrations = {stage: Calibration() for stage in Stage}
        self.ended: list[tuple[Stage, Eta, float]] = []
        self._made: dict[tuple[Stage, str], tuple[float, Eta]] = {}
        self._under_way: list[tuple[float, str]] = []

    def _wait(self, job: Job) -> None:
        super()._wait(job)
        if job.arrival_s == self.now_s:  # otherwise it waits again, because its node left
            foretold_s = self._foretold_s(job)
            if foretold_s is not None:
                self._promise(Stage.ACCEPTED, job.name, foretold_s)

    def _foretold_s(self, job: Job) -> float | None:
        nodes = [self._view(state) for state in self.nodes if state.present]
        if not nodes:
            return None
        if len(self.waiting) == 1:
            return foretold_alone_s(self._job_view(job), nodes, self.estimates)
        own_s = self.estimates.fleet_generation_s(job.model, job.units, job.n)
        fleet_s = self.estimates.fleet_generation_s
        all_s = sum(fleet_s(other.model, other.units, other.n) for _, other in self.waiting)
        return foretold_behind_s([node.backlog_s for node in nodes], ahead_s=all_s - own_s, own_s=own_s)

    @staticmethod
    def _job_view(job: Job) -> JobView:
        known = {"units": job.units, "n": job.n, "input_mbit": job.input_mbit, "output_mbit": job.output_mbit}
        return JobView(job=job.name, model=job.model, ingress=job.ingress, **known)

    def _observe(self) -> Observation:
        self._seen = super()._observe()
        return self._seen

    def _give(self, node: int, job: Job) -> None:
        row = self._seen.jobs.index(job.name)
        backlog_s = self._view(self.nodes[node]).backlog_s
        self._promise(Stage.PLACED, job.name, foretold_when_placed_s(self._seen, row, node, backlog_s))
        super()._give(node, job)

    def _promise(self, stage: Stage, job: str, foretold_s: float) -> None:
        self.arrive_until(self.now_s)
        self._made[stage, job] = self.now_s, self.calibrations[stage].promise(job, foretold_s, self.now_s)

    def _finish(self, node: int, version: int) -> bool:
        attempts = list(self.nodes[node].attempts)
        is_done = super()._finish(node, version)
        if is_done:
            job = attempts[0].job
            heapq.heappush(self._under_way, (job.arrival_s + self.delay_s[job.name], job.name))
        return is_done

    def arrive_until(self, now_s: float) -> None:
        """Let the planner get the results that have arrived by now."""
        while self._under_way and self._under_way[0][0] <= now_s:
            self._arrive(*heapq.heappop(self._under_way))

    def _arrive(self, at_s: float, job: str) -> None:
        """Let the planner get the result of a job, after the transfer."""
        for stage in Stage:
            if (stage, job) in self._made:
                made_s, eta = self._made.pop((stage, job))
                self.ended.append((stage, eta, at_s - made_s))
                self.calibrations[stage].keep(job, at_s)

    def _leave(self, state: object) -> None:
        for attempt in list(state.attempts):  # type: ignore[attr-defined]
            self.calibrations[Stage.PLACED].forget(attempt.job.name)
        super()._leave(state)  # type: ignore[arg-type]


def shares(ended: list[tuple[Stage, Eta, float]], stage: Stage) -> tuple[float, float]:
    """Return the shares of results that came within p50 and p90."""
    of_stage = [(eta, taken_s) for one, eta, taken_s in ended if one is stage]
    within = [(taken_s <= eta.p50_s, taken_s <= eta.p90_s) for eta, taken_s in of_stage]
    p50, p90 = np.mean(within, axis=0)
    return float(p50), float(p90)


def play(specs: list[ScenarioSpec], seed: int) -> list[tuple[Stage, Eta, float]]:
    """Return all predictions that ended, over every scenario and placer."""
    ended: list[tuple[Stage, Eta, float]] = []
    for number, spec in enumerate(specs):
        for placer in PLACERS:
            simulator = ForetellingSimulator(spec.draw(seed + number))
            simulator.run(RULES[placer]())
            simulator.arrive_until(math.inf)
            ended += simulator.ended
    return ended


def row(label: str, predictions: int, kept: list[tuple[float, float]]) -> str:
    """Return one row of the table; what misses its range is in bold."""
    cells = [label, str(predictions)]
    for p50, p90 in kept:
        for share, (low, high) in ((p50, P50_WITHIN), (p90, P90_WITHIN)):
            cells.append(f"{share:.1%}" if low <= share <= high else f"**{share:.1%}**")
    return "| " + " | ".join(cells) + " |"


def simulated(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a row for each family, load and number of nodes, and one for each family."""
    for family, spec_of in FAMILIES.items():
        if arguments.only not in family:
            continue
        total = []
        for load in arguments.loads:
            for nodes in arguments.nodes:
                spec = replace(spec_of(nodes, load), jobs_per_node=arguments.jobs // nodes)
                ended = play([spec] * arguments.scenarios, arguments.seed + 1000 * nodes)
                total += ended
                label = f"{family} | {load} | {nodes}"
                yield row(label, len(ended) // 2, [shares(ended, stage) for stage in Stage])
        yield row(f"{family} | all | all", len(total) // 2, [shares(total, stage) for stage in Stage])


def of_ledger(url: str) -> Iterator[str]:
    """Yield the row of what a planner has promised and kept."""
    ledger = Ledger(url)
    with ledger.transaction(reads=True) as connection:
        found = read_coverage(connection, 0.0)
    ledger.close()
    kept = [(found[stage].p50, found[stage].p90) for stage in Stage]
    yield row("ledger | - | -", found[Stage.ACCEPTED].predictions, kept)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ledger", help="URL of the database of a real run, instead of scenarios")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS))
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--scenarios", type=int, default=4, help="per row; each is played under two placers")
    parser.add_argument("--jobs", type=int, default=600, help="of a scenario")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    print("| family | load | nodes | jobs | accepted: p50 | p90 | placed: p50 | p90 |")
    print("|---|---|---|---|---|---|---|---|")
    for line in of_ledger(arguments.ledger) if arguments.ledger else simulated(arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
