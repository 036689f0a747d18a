"""Running estimates of what a node needs for a job: model load time, seconds per unit of work, uncertainty.

Work is measured in *megapixel steps*: image steps x megapixels x images. A node that makes a 1024x1024 image in
28 image steps does 29.4 of them. Estimates learn from every outcome; a node never seen borrows from the others.
Left out: links (see `observation`) and the backlog, which the planner and the simulator keep themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from numpy import exp, float64, log, median
from numpy.typing import NDArray

FloatArray = NDArray[float64]

PRIOR_S_PER_UNIT = 1.0
PRIOR_OVERHEAD_UNITS = 0.0
PRIOR_LOAD_S = 10.0
PRIOR_LOG_STD = 0.7
NORMAL_P90 = 1.2816


def work_units(*, num_inference_steps: int, width_px: int, height_px: int, n: int) -> float:
    """Return the work of a request in megapixel steps."""
    return num_inference_steps * width_px * height_px * 1e-6 * n


@dataclass(kw_only=True)
class RunningLogMean:
    """Exponentially forgetting mean and spread of the logarithm of a positive quantity.

    Seconds on unlike machines differ by factors, so the logarithm is averaged. The first observations weigh 1, 1/2,
    1/3 ... until `forgetting` is reached, and a surprise of more than three standard deviations doubles the weight:
    a node that throttles to a tenth is believed within a few jobs (FAULTS.md, row 23).
    """

    mean_log: float
    std_log: float = PRIOR_LOG_STD
    count: int = 0
    forgetting: float = 0.3

    def observe(self, value: float) -> None:
        """Take one measured `value` > 0 into the estimate."""
        deviation = math.log(value) - self.mean_log
        weight = max(self.forgetting, 1.0 / (self.count + 1))
        if self.count and abs(deviation) > 3.0 * max(self.std_log, 0.05):
            weight = min(2.0 * weight, 1.0)
        self.mean_log += weight * deviation
        spread = self.std_log**2 if self.count else 0.0
        self.std_log = math.sqrt((1.0 - weight) * (spread + weight * deviation**2)) if self.count else 0.1
        self.count += 1

    @property
    def median(self) -> float:
        """Return the estimate itself, in the quantity's own unit."""
        return math.exp(self.mean_log)


@dataclass(kw_only=True)
class ModelEstimate:
    """What one node needs for one model: seconds to load it and seconds per megapixel step.

    Attributes:
        overhead_units: work of a job that does not grow with its image steps (text encoding, decoding), expressed in
            megapixel steps, so that one measured factor scales both.
    """

    s_per_unit: RunningLogMean
    load_s: RunningLogMean
    overhead_units: float = PRIOR_OVERHEAD_UNITS

    def generation_s(self, units: float) -> float:
        """Return predicted median seconds of generation for `units` megapixel steps."""
        return self.s_per_unit.median * (units + self.overhead_units)


@dataclass(kw_only=True)
class Estimates:
    """All running estimates, by node and model."""

    by_node: dict[str, dict[str, ModelEstimate]] = field(default_factory=dict)

    def of(self, node: str, model: str) -> ModelEstimate:
        """Return the estimate of `node` for `model`, made from its kin when neither was seen before.

        The prior is, in this order: the median of the other nodes for this model, scaled by how this node compares
        on models both know; the plain prior.
        """
        models = self.by_node.setdefault(node, {})
        if model not in models:
            models[model] = self._prior(node, model)
        return models[model]

    def _prior(self, node: str, model: str) -> ModelEstimate:
        peers = [models[model] for name, models in self.by_node.items() if name != node and model in models]
        peers = [peer for peer in peers if peer.s_per_unit.count]
        if not peers:
            return ModelEstimate(
                s_per_unit=RunningLogMean(mean_log=math.log(PRIOR_S_PER_UNIT)),
                load_s=RunningLogMean(mean_log=math.log(PRIOR_LOAD_S)),
            )
        return ModelEstimate(
            s_per_unit=RunningLogMean(
                mean_log=float(median([peer.s_per_unit.mean_log for peer in peers])) + self._relative_log_speed(node)
            ),
            load_s=RunningLogMean(mean_log=float(median([peer.load_s.mean_log for peer in peers]))),
            overhead_units=float(median([peer.overhead_units for peer in peers])),
        )

    def _relative_log_speed(self, node: str) -> float:
        """Return how much slower `node` is than the others on models that both have run, as a log factor."""
        gaps = []
        for model, mine in self.by_node.get(node, {}).items():
            others = [m[model].s_per_unit for name, m in self.by_node.items() if name != node and model in m]
            others = [other for other in others if other.count]
            if mine.s_per_unit.count and others:
                gaps.append(mine.s_per_unit.mean_log - float(median([other.mean_log for other in others])))
        return float(median(gaps)) if gaps else 0.0

    def observe_warm_up(
        self, node: str, model: str, *, load_s: float, s_per_unit: float, overhead_units: float = 0.0
    ) -> None:
        """Take what a worker measured when it started, as the first observation of that node and model."""
        estimate = self.of(node, model)
        if estimate.s_per_unit.count == 0:
            estimate.overhead_units = overhead_units
            estimate.s_per_unit.observe(max(s_per_unit, 1e-9))
        if load_s > 0.0:
            estimate.load_s.observe(load_s)

    def observe_outcome(self, node: str, model: str, *, units: float, generation_s: float, load_s: float) -> None:
        """Learn from one finished attempt.

        Args:
            node: where it ran.
            model: which model made the images.
            units: its work in megapixel steps.
            generation_s: measured seconds of generation, without the load.
            load_s: measured seconds of loading the model; 0 when it was resident.
        """
        estimate = self.of(node, model)
        if generation_s > 0.0:
            estimate.s_per_unit.observe(generation_s / max(units + estimate.overhead_units, 1e-9))
        if load_s > 0.0:
            estimate.load_s.observe(load_s)

    def fleet_generation_s(self, model: str, units: float) -> float:
        """Return the predicted seconds of a job on a middling node: the planner's measure of a job's size."""
        known = [models[model] for models in self.by_node.values() if model in models]
        if not known:
            return PRIOR_S_PER_UNIT * units
        return float(exp(median(log([max(estimate.generation_s(units), 1e-9) for estimate in known]))))
