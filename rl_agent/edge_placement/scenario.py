"""Everything that happens to a fleet independently of the placer: nodes, models, links, arrivals, throttling, absences.

A scenario is drawn once from a seed and then fixed. Every placer meets the same jobs, the same random events and the
same noise, so comparisons are paired. All hardware here is emulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from rl_agent.placing.estimates import FloatArray, work_units
from rl_agent.placing.work_law import WorkLaw

ArrivalProcess = Literal["poisson", "bursty"]

PROPORTIONAL = WorkLaw()
"""Images are drawn in turn, and nothing else takes time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job: what is requested, where and when.

    Attributes:
        units: its work in megapixel steps, all `n` images together.
        noise: factor on its true generation time, the same on every node.
    """

    name: str
    arrival_s: float
    model: str
    units: float
    ingress: str
    input_mbit: float
    output_mbit: float
    n: int = 1
    noise: float = 1.0


@dataclass(frozen=True, kw_only=True)
class NodeProfile:
    """One emulated node.

    Attributes:
        s_per_unit: true seconds per megapixel step, by model; the node cannot serve a model that is missing here.
        laws: what a request amounts to in megapixel steps of one image, by model; a model that is missing here takes
            time in proportion to its steps, pixels and images.
        load_s: true seconds to load each model.
        link_mbit_s: rate to and from each ingress.
        slowdowns: (begin_s, end_s, factor): generation takes `factor` times as long in this time.
        absences: (begin_s, end_s): the node is away in this time; the attempts that it held are lost.
        resident: models in memory at the beginning, least recently used first.
        first_guess: seconds to load and seconds per megapixel step that its worker measures when it starts, by model.
    """

    name: str
    s_per_unit: dict[str, float]
    load_s: dict[str, float]
    laws: dict[str, WorkLaw] = field(default_factory=dict)
    resident_limit: int = 1
    link_mbit_s: dict[str, float] = field(default_factory=dict)
    slowdowns: tuple[tuple[float, float, float], ...] = ()
    absences: tuple[tuple[float, float], ...] = ()
    resident: tuple[str, ...] = ()
    first_guess: dict[str, tuple[float, float]] = field(default_factory=dict)

    def generation_s(self, job: Job) -> float:
        """Return the true seconds of generation of `job` at full speed, before its noise."""
        return self.s_per_unit[job.model] * self.laws.get(job.model, PROPORTIONAL).work(job.units, job.n)


@dataclass(frozen=True, kw_only=True)
class PlacementScenario:
    """A fleet and everything that will happen to it."""

    nodes: tuple[NodeProfile, ...]
    jobs: tuple[Job, ...]

    @property
    def middle_generation_s(self) -> float:
        """Return the median true generation over all jobs and the nodes that can serve them, at full speed."""
        generation_s = [
            node.generation_s(job) for job in self.jobs for node in self.nodes if job.model in node.s_per_unit
        ]
        return float(np.median(generation_s))


@dataclass(frozen=True, kw_only=True)
class ScenarioSpec:
    """Distribution of scenarios; the defaults are the ranges of EdgePlacement-v1.

    Attributes:
        n_nodes: number of nodes.
        jobs_per_node: arrivals are 'jobs_per_node x n_nodes'.
        load: offered generation work over the capacity left after throttling and absences. Model loads come on top,
            because their number depends on the placer.
        speed_ratio: fastest over slowest node.
        burst_s, calm_s: mean lengths of the two phases of bursty arrivals; the rate in a burst is
            `burst_rate` times the mean rate.
        throttle_every_s, throttle_for_s: means of the exponential times between and during slowdowns; the factor is
            uniform in `throttle`.
        away_every_s, away_for_s: the same for absences.
    """

    n_nodes: int = 10
    jobs_per_node: int = 60
    load: float = 0.7
    arrivals: ArrivalProcess = "poisson"
    fastest_s_per_unit: float = 0.1
    speed_ratio: float = 5.0
    n_models: tuple[int, int] = (2, 4)
    model_cost: tuple[float, float] = (0.6, 1.8)
    model_load_s: tuple[float, float] = (2.0, 30.0)
    link_mbit_s: tuple[float, float] = (5.0, 500.0)
    burst_s: float = 30.0
    calm_s: float = 120.0
    burst_rate: float = 3.0
    throttle_every_s: float = 900.0
    throttle_for_s: float = 120.0
    throttle: tuple[float, float] = (1.5, 4.0)
    away_every_s: float = 1800.0
    away_for_s: float = 90.0
    noise_log_std: float = 0.08

    def with_loads_stretched(self, factor: float) -> ScenarioSpec:
        """Return the same distribution with all model loads `factor` times as long."""
        min_s, max_s = self.model_load_s
        return replace(self, model_load_s=(factor * min_s, factor * max_s))

    def draw(self, seed: int) -> PlacementScenario:
        """Return the scenario of `seed`."""
        generator = np.random.default_rng(seed)
        models = [f"model-{m}" for m in range(generator.integers(self.n_models[0], self.n_models[1] + 1))]
        popularity = generator.dirichlet(np.full(len(models), 2.0))
        names = [f"node-{k:03d}" for k in range(self.n_nodes)]
        ingresses = names[: max(1, self.n_nodes // 4)]
        speeds = self._s_per_unit(generator, len(models))
        load_s = self._load_s(generator, len(models))
        jobs = self._jobs(generator, models, popularity, ingresses)
        mean_units = float(np.mean([job.units for job in jobs]))
        rate = self._capacity(speeds, popularity) * self.load / mean_units
        arrivals = self._arrivals(generator, rate, len(jobs))
        arriving = zip(jobs, map(float, arrivals), strict=True)
        arrived = tuple(replace(job, arrival_s=arrival_s) for job, arrival_s in arriving)
        return PlacementScenario(
            nodes=self._nodes(generator, models, speeds, load_s, names, ingresses, arrived), jobs=arrived
        )

    def _nodes(
        self,
        generator: np.random.Generator,
        models: list[str],
        speeds: FloatArray,
        load_s: FloatArray,
        names: list[str],
        ingresses: list[str],
        jobs: Sequence[Job],
    ) -> tuple[NodeProfile, ...]:
        """Draw the nodes' memory, links, slowdowns and absences, long beyond the last of the jobs."""
        end_s = 3.0 * jobs[-1].arrival_s + 600.0
        return tuple(
            NodeProfile(
                name=name,
                s_per_unit=dict(zip(models, map(float, speeds[:, k]), strict=True)),
                load_s=dict(zip(models, map(float, load_s[:, k]), strict=True)),
                resident_limit=int(generator.integers(1, 3)),
                link_mbit_s={ingress: _log_uniform(generator, *self.link_mbit_s) for ingress in ingresses},
                slowdowns=tuple(
                    (begin_s, until_s, float(generator.uniform(*self.throttle)))
                    for begin_s, until_s in list(phases(generator, self.throttle_every_s, self.throttle_for_s, end_s))
                ),
                absences=tuple(phases(generator, self.away_every_s, self.away_for_s, end_s)),
            )
            for k, name in enumerate(names)
        )

    def _s_per_unit(self, generator: np.random.Generator, n_models: int) -> FloatArray:
        """(M, N) seconds: log-uniform node speeds that span the whole ratio, times model costs and small affinities."""
        position = generator.permutation(np.linspace(0.0, 1.0, self.n_nodes)) if self.n_nodes > 1 else np.zeros(1)
        node = self.fastest_s_per_unit * self.speed_ratio**position
        model = generator.uniform(*self.model_cost, size=n_models)
        affinity = np.exp(generator.normal(0.0, 0.1, size=(n_models, self.n_nodes)))
        product: FloatArray = model[:, None] * node[None, :] * affinity
        return product

    def _load_s(self, generator: np.random.Generator, n_models: int) -> FloatArray:
        """(M, N) seconds: a model's size times the slowness of a node's disk, clipped to the range."""
        low, high = np.log(self.model_load_s)
        model = np.exp(generator.uniform(low, high, size=n_models))
        disk = np.exp(generator.normal(0.0, 0.3, size=self.n_nodes))
        product: FloatArray = model[:, None] * disk[None, :]
        return product.clip(*self.model_load_s)

    def _jobs(
        self, generator: np.random.Generator, models: list[str], popularity: FloatArray, ingresses: list[str]
    ) -> list[Job]:
        """Return the jobs, all of them arriving at 0."""
        shares = generator.dirichlet(np.full(len(ingresses), 3.0))
        jobs = []
        for number in range(self.jobs_per_node * self.n_nodes):
            side_px = int(generator.choice([512, 768, 1024], p=[0.4, 0.3, 0.3]))
            n = int(generator.choice([1, 2, 4], p=[0.75, 0.15, 0.1]))
            steps = int(generator.integers(10, 51))
            has_picture = generator.random() < 0.3
            jobs.append(
                Job(
                    name=f"job-{number:06d}",
                    arrival_s=0.0,
                    model=models[int(generator.choice(len(models), p=popularity))],
                    units=work_units(num_inference_steps=steps, width_px=side_px, height_px=side_px, n=n),
                    n=n,
                    ingress=ingresses[int(generator.choice(len(ingresses), p=shares))],
                    input_mbit=float(generator.uniform(4.0, 40.0)) if has_picture else 0.01,
                    output_mbit=8e-6 * side_px * side_px * n * float(generator.uniform(0.8, 1.6)),
                    noise=float(np.exp(generator.normal(0.0, self.noise_log_std))),
                )
            )
        return jobs

    def _capacity(self, speeds: FloatArray, popularity: FloatArray) -> float:
        """Units of work per second of the whole fleet, less throttling and absences, but not less model loads."""
        share = self.throttle_for_s / (self.throttle_every_s + self.throttle_for_s)
        slow = share * float(np.mean(1.0 / np.linspace(*self.throttle, 50))) + (1.0 - share)
        present = self.away_every_s / (self.away_every_s + self.away_for_s)
        return float((1.0 / (popularity @ speeds)).sum()) * slow * present

    def _arrivals(self, generator: np.random.Generator, rate: float, jobs: int) -> FloatArray:
        """(jobs,) arrival times: Poisson, or a two-phase Markov-modulated Poisson process of the same mean rate."""
        operational: FloatArray = np.cumsum(generator.exponential(1.0 / rate, size=jobs))
        return operational if self.arrivals == "poisson" else self._modulated(generator, operational)

    def _modulated(self, generator: np.random.Generator, operational: FloatArray) -> FloatArray:
        """Stretch a Poisson process in calm phases and compress it in bursts, by mapping operational to real time."""
        burst_share = self.burst_s / (self.burst_s + self.calm_s)
        calm_rate = (1.0 - burst_share * self.burst_rate) / (1.0 - burst_share)
        real, reached, burst = [0.0], [0.0], False
        while reached[-1] < operational[-1]:
            length = float(generator.exponential(self.burst_s if burst else self.calm_s))
            real.append(real[-1] + length)
            reached.append(reached[-1] + length * (self.burst_rate if burst else calm_rate))
            burst = not burst
        return np.interp(operational, reached, real)


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def phases(generator: np.random.Generator, every_s: float, for_s: float, end_s: float) -> Iterator[tuple[float, float]]:
    """Yield (begin, end) of phases that last `for_s` on average with `every_s` between them, up to `end_s`.

    A phase is drawn when the caller asks for it, so the caller may draw from `generator` between two phases.
    """
    now_s = float(generator.exponential(every_s))
    while now_s < end_s:
        until_s = now_s + float(generator.exponential(for_s))
        yield now_s, until_s
        now_s = until_s + float(generator.exponential(every_s))
