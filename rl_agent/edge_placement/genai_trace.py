"""`GenAITrace-v1`: scenarios whose jobs have the statistics of a public trace of text-to-image serving.

Alibaba's GenTD26 is a trace of a production cluster for image generation. No row of it is here: only statistics, each
a constant below, which the generated jobs are drawn to match (docs/edge_placement.md). Nodes, links, throttling and
absences are those of `EdgePlacement-v1`. All hardware is emulated.

Source: Alibaba, cluster-trace-v2026-GenAI (GenTD26), https://github.com/alibaba/clusterdata.
Differs: a node's memory holds one or two base models, LoRA loads are part of a job's work, failures are left out of the
simulation (`FAILED_SHARE` says how many there are), a day is as long as the jobs take at the load that is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_agent.edge_placement.scenario import Job, PlacementScenario, ScenarioSpec
from rl_agent.placing.estimates import FloatArray

IntArray = NDArray[np.int64]

IMAGE_STEPS = {30: 0.91, 40: 0.05, 20: 0.04}  # share of requests; the trace names the first two, the rest is one guess
IMAGES = {1: 0.58, 2: 0.08, 4: 0.19, 8: 0.15}  # share of requests by number of images
EXECUTION_S = {1: 19.0, 2: 21.0, 4: 23.0, 8: 24.0}  # median execution by number of images: nearly flat
EXECUTION_MEAN_S = 28.7  # over all requests
EXECUTION_CV = 0.73  # likewise, standard deviation over mean
BASE_MODELS = 87  # in the whole trace
MODELS_A_DAY = 38  # of them are asked for on one day
ZIPF = 1.7  # exponent of the popularity of base models
TOP_SHARES = {1: 0.31, 5: 0.70, 10: 0.87}  # of the requests, for the most popular base models
KEEPS_MODEL = 0.72  # share of a client's jobs that have the model of its last one
TOP_CLIENTS_SHARE = 0.57  # of the requests come from the busiest tenth of the clients
SESSION_MEAN = 4.0  # jobs of a session
SESSION_MEDIAN = 2  # likewise
SESSION_P99 = 28  # likewise
SESSION_GAP_S = 73.0  # median between two jobs of a session
LOAD_QUANTILES_S = {0.05: 2.3, 0.5: 22.7, 0.95: 45.5}  # loading a base model; the mean is 22.0 s
LORA_SHARE = 0.17  # of the requests
LORA_FACTOR = (2.0, 3.0)  # such a request takes so many times as long
PEAK_HOUR = 3.4  # requests of the busiest hour over those of the mean one
FAILED_SHARE = 0.015  # of the requests
# What follows is derived, so that the statistics above come out.
KEPT = 0.67  # share of a client's jobs that keep the model whatever is popular; others draw the same one by chance
EXECUTION_SCALE = 0.95  # of the medians by number of images: LoRA raises the median of all by about a twentieth
NOISE_LOG_STD = 0.47  # what remains of the spread of executions
SESSION_LOG_STD = 1.15  # a log-normal around the median has the mean and the 99th percentile
GAP_LOG_STD = 1.0  # a guess: the trace gives the median only
CLIENT_LOG_STD = 1.46  # a log-normal whose top tenth has that share
JOBS_A_CLIENT = 20.0  # on average; a guess
DAY_CONCENTRATION = 2.05  # of the von Mises density over a day whose busiest hour is that busy
HOURS = 24  # of a day


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """J requests in order of arrival, all arrays of shape (J,).

    Attributes:
        day_s: when each arrives, on a day of 86,400 s.
        client, model: numbers; model 0 is the most popular.
        images: how many; `image_steps` of each.
        has_lora: whether it brings a LoRA adapter.
        expected_s: execution on a node of middle speed, as far as the request tells; `execution_s` is what it takes.
    """

    day_s: FloatArray
    client: IntArray
    model: IntArray
    images: IntArray
    image_steps: IntArray
    has_lora: NDArray[np.bool_]
    expected_s: FloatArray
    execution_s: FloatArray


def popularity() -> FloatArray:
    """(models,) shares of the base models of a day: the named top shares, harmonic within, a Zipf tail."""
    ranks = np.arange(1, MODELS_A_DAY + 1)
    shares = np.empty(MODELS_A_DAY)
    begin, reached = 0, 0.0
    for end, total in (*TOP_SHARES.items(), (MODELS_A_DAY, 1.0)):
        weights = ranks[begin:end] ** (-ZIPF if end == MODELS_A_DAY else -1.0)
        shares[begin:end] = (total - reached) * weights / weights.sum()
        begin, reached = end, total
    return shares


def draw_requests(generator: np.random.Generator, jobs: int, day_s: float = 86_400.0) -> Requests:
    """Draw a day of `day_s` seconds with so many requests."""
    sizes = _sessions(generator, jobs)
    clients = max(int(jobs / JOBS_A_CLIENT), 1)
    weights = np.exp(generator.normal(0.0, CLIENT_LOG_STD, clients))
    of_session = generator.choice(clients, size=len(sizes), p=weights / weights.sum())
    starts_s = day_s * _day_shares(generator, len(sizes))
    gaps_s = np.exp(generator.normal(math.log(SESSION_GAP_S), GAP_LOG_STD, jobs))
    session = np.repeat(np.arange(len(sizes)), sizes)[:jobs]
    first = np.concatenate([[True], session[1:] != session[:-1]])
    since_s = np.cumsum(np.where(first, 0.0, gaps_s))
    at_s = starts_s[session] + since_s - since_s[np.flatnonzero(first)][session]
    order = np.argsort(at_s, kind="stable")
    client = of_session[session][order]
    images = generator.choice(list(IMAGES), size=jobs, p=list(IMAGES.values()))
    steps = generator.choice(list(IMAGE_STEPS), size=jobs, p=list(IMAGE_STEPS.values()))
    has_lora = generator.random(jobs) < LORA_SHARE
    expected_s = EXECUTION_SCALE * np.array([EXECUTION_S[n] for n in images]) * steps / 30.0
    expected_s = expected_s * np.where(has_lora, generator.uniform(*LORA_FACTOR, jobs), 1.0)
    return Requests(
        day_s=at_s[order],
        client=client,
        model=_models(generator, client),
        images=images,
        image_steps=steps,
        has_lora=has_lora,
        expected_s=expected_s,
        execution_s=expected_s * np.exp(generator.normal(0.0, NOISE_LOG_STD, jobs)),
    )


def draw_loads_s(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw seconds of loading a base model: straight between the quantiles of the trace."""
    levels = [0.0, *LOAD_QUANTILES_S, 1.0]
    values = [1.0, *LOAD_QUANTILES_S.values(), 1.2 * LOAD_QUANTILES_S[0.95]]
    return np.interp(generator.random(shape), levels, values)


def _sessions(generator: np.random.Generator, jobs: int) -> IntArray:
    """Draw sizes of sessions until they hold so many jobs."""
    sizes = np.exp(generator.normal(math.log(SESSION_MEDIAN), SESSION_LOG_STD, jobs)).round().clip(1).astype(np.int64)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), jobs)) + 1]
    return sizes


def _day_shares(generator: np.random.Generator, count: int) -> FloatArray:
    """Draw when sessions begin, as shares of the day, the busiest hour in its middle."""
    return 0.5 + generator.vonmises(0.0, DAY_CONCENTRATION, count) / (2.0 * math.pi)


def _models(generator: np.random.Generator, client: IntArray) -> IntArray:
    """Draw the model of each request: its client's last one, or another by popularity."""
    fresh = generator.choice(MODELS_A_DAY, size=len(client), p=popularity())
    keeps = generator.random(len(client)) < KEPT
    last: dict[int, int] = {}
    for number, who in enumerate(client.tolist()):
        if keeps[number] and who in last:
            fresh[number] = last[who]
        last[who] = int(fresh[number])
    return fresh


@dataclass(frozen=True, kw_only=True)
class GenAITraceSpec(ScenarioSpec):
    """Distribution of scenarios with the jobs of the trace. What the trace says itself, such as `arrivals`, is unused.

    A failed request is drawn twice: its time counts once more.
    """

    def draw(self, seed: int) -> PlacementScenario:
        """Return the scenario of `seed`."""
        generator = np.random.default_rng(seed)
        names = [f"node-{k:03d}" for k in range(self.n_nodes)]
        ingresses = names[: max(1, self.n_nodes // 4)]
        position = generator.permutation(np.linspace(-0.5, 0.5, self.n_nodes)) if self.n_nodes > 1 else np.zeros(1)
        speeds = np.tile(self.speed_ratio**position, (MODELS_A_DAY, 1))
        day_s = self._day_s(speeds, self.jobs_per_node * self.n_nodes)
        requests = draw_requests(generator, self.jobs_per_node * self.n_nodes, day_s)
        jobs = self._trace_jobs(generator, requests, ingresses, day_s)
        models = [f"model-{m}" for m in range(MODELS_A_DAY)]
        load_s = draw_loads_s(generator, speeds.shape)
        return PlacementScenario(
            nodes=self._nodes(generator, models, speeds, load_s, names, ingresses, jobs), jobs=jobs
        )

    def _day_s(self, speeds: FloatArray, jobs: int) -> float:
        """Return how long a day must be for the load that is asked for."""
        return jobs * EXECUTION_MEAN_S / (self._capacity(speeds, popularity()) * self.load)

    def _trace_jobs(
        self, generator: np.random.Generator, requests: Requests, ingresses: list[str], day_s: float
    ) -> tuple[Job, ...]:
        at_s = requests.day_s - requests.day_s[0]
        at_s *= day_s / max(float(at_s[-1]), 1.0)  # of a short day, sessions would reach beyond it
        fails = generator.random(len(requests.day_s)) < FAILED_SHARE
        noise = requests.execution_s / requests.expected_s * np.where(fails, 2.0, 1.0)
        ingress = generator.choice(len(ingresses), size=len(fails))
        megapixels = requests.images * 1.0
        return tuple(
            Job(
                name=f"job-{number:06d}",
                arrival_s=float(at_s[number]),
                model=f"model-{requests.model[number]}",
                units=float(requests.expected_s[number]),  # for all images, which cost little more than one
                ingress=ingresses[int(ingress[number])],
                input_mbit=0.01,
                output_mbit=float(12.0 * megapixels[number]),
                noise=float(noise[number]),
            )
            for number in range(len(fails))
        )
