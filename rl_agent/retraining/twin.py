"""The digital twin: `EdgePlacement-v1` fitted to one installation's log.

The shape of the work law, speeds, load times and links are fitted to the newest outcomes. A few absurd ones change
little: speeds, loads and links are medians. A node that has never run a model gets the estimate that the planner would
borrow for it (`rl_agent.placing.estimates`). Nodes that have left, and nodes that have finished nothing yet, are not in
the twin. Arrivals are not modelled: the real jobs are replayed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario, ScenarioSpec, phases
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import DEFAULT_LINK_MBIT_S
from rl_agent.placing.residency import resident_after
from rl_agent.placing.work_law import WorkLaw
from rl_agent.retraining.samples import Sample

NEWEST = 15
"""Outcomes of a median: few enough to follow a node that throttles, many enough to outvote seven absurd ones."""
RECENT = 0.25
"""A node that none of this newest share of the decisions could choose has left."""
ABSURD = 10.0
"""Factor off the median rate beyond which an outcome tells nothing of the work law; eight images for the time of one
are a factor of 8."""
CLEARLY = 0.5
"""Share of the spread under proportion that the fitted laws of a model may leave, in the median over its nodes: one
node that throttles can make its own look better."""
MIN_INPUT_MBIT = 0.05
"""Smaller inputs (a prompt is 0.01) measure the latency of a link, not its rate."""
NOISE_LOG = (0.02, 0.5)
"""Bounds on the standard deviation of ln(generation time): few outcomes may happen to agree, or to be absurd."""
MAD_TO_STD = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution, 1 / 0.6745."""

ByPair = dict[tuple[str, str], list[float]]
"""Values by node and model, or by node and ingress; the newest last."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well the twin's generation times match the log's.

    Attributes:
        outcomes: how many were fitted.
        median_error: median of |taken / fitted - 1| over the newest outcomes of each node and model.
        explained: share of the variance of ln(taken) that is explained, over all of them, old ones included.
    """

    outcomes: int
    nodes: int
    models: int
    noise_log_std: float
    median_error: float
    explained: float


@dataclass(frozen=True, kw_only=True)
class Twin:
    """An installation as its log shows it.

    Attributes:
        nodes: as fitted.
        jobs: every logged job in order of arrival, the first one at 0 s.
        placed: (seconds after the first arrival, node, model) of each placement.
        estimates: what a planner would know of these nodes.
        fit: how good the fit is.
    """

    nodes: tuple[NodeProfile, ...]
    jobs: tuple[Job, ...]
    placed: tuple[tuple[float, str, str], ...]
    estimates: Estimates
    fit: Fit

    def scenario(
        self, first: int, last: int, seed: int, *, pace: float = 1.0, throttles: bool = False
    ) -> PlacementScenario:
        """Return a scenario that replays jobs `first` to `last` - 1.

        Args:
            first: index of the first job.
            last: index after the last job.
            seed: of the noise on generation times, and of the throttling.
            pace: factor on all times between arrivals.
            throttles: let nodes throttle from time to time, as in `EdgePlacement-v1`.
        """
        generator = np.random.default_rng(seed)
        jobs = self.jobs[first:last]
        begin_s = jobs[0].arrival_s
        noise = np.exp(generator.normal(0.0, self.fit.noise_log_std, len(jobs)))
        played = tuple(
            replace(job, arrival_s=pace * (job.arrival_s - begin_s), noise=float(factor))
            for job, factor in zip(jobs, noise, strict=True)
        )
        nodes = self._nodes_at(begin_s)
        if throttles:
            end_s = 2.0 * played[-1].arrival_s + 600.0  # long after the last arrival: a slow policy ends later
            nodes = tuple(replace(node, slowdowns=_slowdowns(generator, end_s)) for node in nodes)
        return PlacementScenario(nodes=nodes, jobs=played)

    def _nodes_at(self, at_s: float) -> tuple[NodeProfile, ...]:
        """Return the nodes with the models that were in their memory at that time."""
        resident: dict[str, tuple[str, ...]] = {}
        limit = {node.name: node.resident_limit for node in self.nodes}
        for placed_s, node, model in self.placed:
            if placed_s < at_s:
                resident[node] = resident_after(resident.get(node, ()), [model], limit[node])
        return tuple(replace(node, resident=resident.get(node.name, ())) for node in self.nodes)


def fit_twin(samples: Sequence[Sample]) -> Twin:
    """Fit the twin to samples in order of decision; at least one is needed."""
    laws = _laws(samples)
    rates = _newest(
        ((s.node, s.model), s.generation_s / laws[s.node, s.model].work(s.units, s.images))
        for s in samples
        if s.generation_s > 0.0
    )
    estimates = _estimates(samples, rates, laws)
    nodes = _nodes(samples, estimates)
    names = {node.name for node in nodes}
    begin_at = min(sample.arrived_at for sample in samples)
    return Twin(
        nodes=nodes,
        jobs=_jobs(samples),
        placed=tuple((s.decided_at - begin_at, s.node, s.model) for s in samples if s.node in names),
        estimates=estimates,
        fit=_fit(samples, rates, estimates, n_nodes=len(nodes)),
    )


def _laws(samples: Sequence[Sample]) -> dict[tuple[str, str], WorkLaw]:
    """Return what a request amounts to by node and model, fitted where that explains the newest outcomes better.

    Otherwise in proportion: a node that has changed its speed bends the shape of what is fitted for a while.
    """
    timed = [sample for sample in samples if sample.generation_s > 0.0]
    in_proportion = _newest(((s.node, s.model), s.generation_s / s.units) for s in timed)
    usual = {pair: median(rates) for pair, rates in in_proportion.items()}
    learned = Estimates()
    for s in timed:
        if 1.0 / ABSURD < s.generation_s / s.units / usual[s.node, s.model] < ABSURD:
            learned.observe_outcome(s.node, s.model, units=s.units, n=s.images, generation_s=s.generation_s, load_s=0.0)
    laws = {pair: learned.of(*pair).law for pair in usual}
    fitted = _newest(((s.node, s.model), s.generation_s / laws[s.node, s.model].work(s.units, s.images)) for s in timed)
    left: dict[str, list[float]] = defaultdict(list)
    for pair in laws:
        left[pair[1]].append(_spread_log(fitted[pair]) / max(_spread_log(in_proportion[pair]), NOISE_LOG[0]))
    return {pair: law if median(left[pair[1]]) < CLEARLY else _proportional() for pair, law in laws.items()}


def _spread_log(values: Sequence[float]) -> float:
    """Return the median absolute deviation of the logarithms."""
    logs = np.log(values)
    return float(np.median(np.abs(logs - np.median(logs))))


def _proportional() -> WorkLaw:
    """Return the law of proportion as one that an outcome has told, so that the next one is not the first."""
    law = WorkLaw()
    law.observe(1.0, 1, 1.0)
    return law


def _estimates(samples: Sequence[Sample], rates: ByPair, laws: Mapping[tuple[str, str], WorkLaw]) -> Estimates:
    """Return estimates that have seen one outcome of each node and model: the fitted law at the median rate."""
    loads = _newest(((s.node, s.model), s.load_s) for s in samples if s.load_s > 0.0)
    units = median(sample.units for sample in samples)
    estimates = Estimates()
    for (node, model), values in rates.items():
        law = laws[node, model]
        load_s = median(loads.get((node, model), [0.0]))
        generation_s = law.work(units) * median(values)
        estimates.observe_outcome(node, model, units=units, generation_s=generation_s, load_s=load_s)
        estimate = estimates.by_node[node][model]
        estimate.law, estimate.s_per_unit.mean_log = replace(law), math.log(median(values))
    return estimates


def _nodes(samples: Sequence[Sample], estimates: Estimates) -> tuple[NodeProfile, ...]:
    """Return the nodes that have finished something and are still there."""
    present = set().union(*(sample.decision.nodes for sample in samples[-max(int(RECENT * len(samples)), 1) :]))
    models = sorted({sample.model for sample in samples})
    ingresses = sorted({sample.ingress or "" for sample in samples})
    links = _newest(
        ((s.node, s.ingress or ""), s.input_mbit / s.transfer_in_s)
        for s in samples
        if s.input_mbit > MIN_INPUT_MBIT and s.transfer_in_s > 0.0
    )
    return tuple(
        NodeProfile(
            name=name,
            s_per_unit={model: estimates.of(name, model).s_per_unit.median for model in models},
            load_s={model: estimates.of(name, model).load_s.median for model in models},
            laws={model: estimates.of(name, model).law for model in models},
            resident_limit=next(s.resident_limit for s in reversed(samples) if s.node == name),
            link_mbit_s={i: median(links.get((name, i), [DEFAULT_LINK_MBIT_S])) for i in ingresses},
        )
        for name in sorted({sample.node for sample in samples} & present)
    )


def _fit(samples: Sequence[Sample], rates: ByPair, estimates: Estimates, *, n_nodes: int) -> Fit:
    residuals = [np.log(np.array(values) / median(values)) for values in rates.values()]
    newest = np.abs(np.concatenate(residuals)) if residuals else np.zeros(1)
    return Fit(
        outcomes=len(samples),
        nodes=n_nodes,
        models=len({sample.model for sample in samples}),
        noise_log_std=float(np.clip(MAD_TO_STD * np.median(newest), *NOISE_LOG)),
        median_error=float(np.median(np.expm1(newest))),
        explained=_explained(samples, estimates),
    )


def _newest(pairs: Iterable[tuple[tuple[str, str], float]]) -> ByPair:
    """Return the newest values of each key."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for key, value in pairs:
        values[key].append(value)
    return {key: list(found[-NEWEST:]) for key, found in values.items()}


def _jobs(samples: Sequence[Sample]) -> tuple[Job, ...]:
    by_arrival = sorted(samples, key=lambda sample: sample.arrived_at)
    return tuple(
        Job(
            name=sample.job,
            arrival_s=sample.arrived_at - by_arrival[0].arrived_at,
            model=sample.model,
            units=sample.units,
            n=sample.images,
            ingress=sample.ingress or "",
            input_mbit=sample.input_mbit,
            output_mbit=sample.output_mbit,
        )
        for sample in by_arrival
    )


def _explained(samples: Sequence[Sample], estimates: Estimates) -> float:
    timed = [sample for sample in samples if sample.generation_s > 0.0]
    taken = np.log([sample.generation_s for sample in timed])
    fitted = np.log([estimates.of(s.node, s.model).generation_s(s.units, s.images) for s in timed])
    spread = float(np.var(taken)) if len(timed) else 0.0
    return 1.0 - float(np.mean((taken - fitted) ** 2)) / spread if spread > 0.0 else 0.0


def _slowdowns(generator: np.random.Generator, end_s: float) -> tuple[tuple[float, float, float], ...]:
    """Draw slowdowns like those of `EdgePlacement-v1`."""
    spec = ScenarioSpec
    times = phases(generator, spec.throttle_every_s, spec.throttle_for_s, end_s)
    return tuple((begin_s, until_s, float(generator.uniform(*spec.throttle))) for begin_s, until_s in times)


def describe(twin: Twin) -> dict[str, Any]:
    """Return the fit as JSON can hold it, with each node's speeds."""
    speeds = {node.name: {model: round(s, 6) for model, s in node.s_per_unit.items()} for node in twin.nodes}
    return {**{name: round(value, 4) for name, value in vars(twin.fit).items()}, "s_per_unit": speeds}
