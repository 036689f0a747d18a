"""The load of `ladle bench`: emulated nodes of different speeds, and jobs that arrive at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPEED_RATIO = 5.0  # slowest over fastest node
FASTEST_S_PER_STEP = 0.1  # a job takes it 1-4 s: long beside a message, and a run of 200 jobs is over in minutes
MODELS = ("emulated-a", "emulated-b")
MODEL_SHARES = (0.7, 0.3)  # one popular and one rarer model, so that where a model is loaded matters
IMAGE_STEPS = (10, 40)  # fewest and most of a job, equally likely: around the 28 of SD3-medium's card
SIDE_PX = 64


@dataclass(frozen=True, kw_only=True)
class EmulatedNode:
    """One emulated node; seconds are before the time scale. `drift` is its `LADLE_EMULATED_DRIFT`."""

    name: str
    s_per_step: float
    drift: str = ""

    @property
    def s_per_unit(self) -> float:
        """Return seconds per megapixel step."""
        return self.s_per_step / (SIDE_PX * SIDE_PX * 1e-6)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One job: when it arrives (seconds, before the time scale) and what it asks for."""

    at_s: float
    model: str
    image_steps: int


def emulated_nodes(count: int) -> list[EmulatedNode]:
    """Return nodes whose speeds are spaced geometrically over `SPEED_RATIO`."""
    slowdowns = np.geomspace(1.0, SPEED_RATIO, count) if count > 1 else np.ones(1)
    return [
        EmulatedNode(name=f"bench-{index + 1}", s_per_step=float(FASTEST_S_PER_STEP * slowdown))
        for index, slowdown in enumerate(slowdowns)
    ]


def arrivals(nodes: list[EmulatedNode], jobs: int, load: float, seed: int) -> list[Arrival]:
    """Return Poisson arrivals whose work is `load` times the capacity of the nodes, not counting model loading."""
    generator = np.random.default_rng(seed)
    steps_per_s = sum(1.0 / node.s_per_step for node in nodes)
    mean_steps = sum(IMAGE_STEPS) / 2
    times = np.cumsum(generator.exponential(mean_steps / (load * steps_per_s), jobs))
    models = generator.choice(len(MODELS), jobs, p=MODEL_SHARES)
    steps = generator.integers(IMAGE_STEPS[0], IMAGE_STEPS[1] + 1, jobs)
    return [
        Arrival(at_s=float(at), model=MODELS[model], image_steps=int(count))
        for at, model, count in zip(times, models, steps, strict=True)
    ]
