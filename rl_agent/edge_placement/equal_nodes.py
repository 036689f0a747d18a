"""Scenarios of a first evening with Ladle: three equal workers on one machine, jobs of .15 s, wrong first estimates.

Workers that start together measure one another: what they say of their speed is 17 to 36 times too slow, each by a
factor of its own. A fleet of this kind once had its learned policy beaten by least backlog (docs/retraining.md).

Differs: the workers of one machine slow each other down all the time; here only their first estimates are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rl_agent.edge_placement.scenario import Job, NodeProfile, PlacementScenario, ScenarioSpec
from rl_agent.placing.estimates import work_units

MODEL = "tiny"
IMAGE_STEPS = 8  # of 64 x 64 pixels; at the speed below they take .15 s
SIDE_PX = 64
S_PER_UNIT = 4.5  # measured: the shipped model on one core
FIRST_GUESS = (77.0, 162.0)  # s for a megapixel step: what three workers measured that started together
LOAD_S = 1.0  # the shipped model has a few megabytes


@dataclass(frozen=True, kw_only=True)
class EqualNodesSpec(ScenarioSpec):
    """Distribution of such scenarios; of `ScenarioSpec`, nodes, jobs, load, arrivals and noise count.

    Attributes:
        at_once: all jobs are submitted together, as a script does that draws a thousand images.
    """

    n_nodes: int = 3
    at_once: bool = False

    def draw(self, seed: int) -> PlacementScenario:
        """Return the scenario of `seed`."""
        generator = np.random.default_rng(seed)
        names = [f"node-{k + 1}" for k in range(self.n_nodes)]
        units = work_units(num_inference_steps=IMAGE_STEPS, width_px=SIDE_PX, height_px=SIDE_PX, n=1)
        nodes = tuple(
            NodeProfile(
                name=name,
                s_per_unit={MODEL: S_PER_UNIT},
                load_s={MODEL: LOAD_S},
                link_mbit_s=dict.fromkeys(names, 1000.0),
                resident=(MODEL,),
                first_guess={MODEL: (LOAD_S, float(generator.uniform(*FIRST_GUESS)))},
            )
            for name in names
        )
        count = self.jobs_per_node * self.n_nodes
        rate = self.load * self.n_nodes / (S_PER_UNIT * units)
        arrivals_s = np.zeros(count) if self.at_once else self._arrivals(generator, rate, count)
        noise = np.exp(generator.normal(0.0, self.noise_log_std, count))
        first = self._job(names[0], units)
        jobs = (
            replace(first, name=f"job-{number:06d}", arrival_s=float(at_s), noise=float(factor))
            for number, (at_s, factor) in enumerate(zip(arrivals_s, noise, strict=True))
        )
        return PlacementScenario(nodes=nodes, jobs=tuple(jobs))

    @staticmethod
    def _job(ingress: str, units: float) -> Job:
        return Job(name="", arrival_s=0.0, model=MODEL, units=units, ingress=ingress, input_mbit=0.01, output_mbit=0.1)
