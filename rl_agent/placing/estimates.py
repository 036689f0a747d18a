"""Running estimates of what a node needs for a job: model load time, seconds per unit of work, uncertainty.

Work is measured in *megapixel steps*: image steps x megapixels x images. A node that makes a 1024x1024 image in
28 image steps does 29.4 of them. Estimates learn from every outcome. What was never measured is borrowed from kin:
other nodes with that model, other models on that node. Left out: links (`observation`), the backlog (`backlog`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

# Priors are guesses, replaced by the warm-up or the first outcome of any node that has the model.
PRIOR_S_PER_UNIT = 1.0
PRIOR_OVERHEAD_UNITS = 0.0  # on top of the image steps; only a warm-up can tell it from them
PRIOR_LOAD_S = 10.0
PRIOR_LOG_STD = 0.7  # a factor of 2 either way
BORROWED_LOG_STD = 0.4  # a factor of 1.5 either way: kin tell more than a prior
TYPICAL_FORGETTING = 0.02  # a mean over about the last 50 jobs, so that one odd job does not change the scale of time
MIN_STD_LOG = 0.05  # otherwise equal measurements would make every later one a surprise
# What no hardware can do, or is no measurement any more; broker_config.bounds lets nodes report no more than this.
MIN_MEASURED = 1e-12  # s: below any clock's resolution
MIN_S_PER_UNIT = 1e-9  # s for a megapixel step: a no-op engine takes microseconds
MAX_S_PER_UNIT = 1e6  # 11 days for a megapixel step
MAX_LOAD_S = 1e5
MAX_OVERHEAD_UNITS = 1e6  # hundreds of the largest jobs
MAX_STD_LOG = 40.0  # a factor of 1e17 either way: more than the range of speeds
FIRST_STD_LOG = 0.1  # after one measurement, until the second tells how much they differ


def work_units(*, num_inference_steps: int, width_px: int, height_px: int, n: int) -> float:
    """Return the work of a request in megapixel steps."""
    return num_inference_steps * width_px * height_px * 1e-6 * n


@dataclass(kw_only=True)
class RunningLogMean:
    """Exponentially forgetting mean and spread of the logarithm of a positive quantity.

    Seconds on heterogeneous machines differ by factors, so the logarithm is averaged. The first observations weigh 1,
    1/2, 1/3 ... until `forgetting` is reached. A surprise of more than `surprise_stds` standard deviations doubles the
    weight: a node that throttles to a tenth is believed within a few jobs (docs/faults.md, row 23).
    """

    mean_log: float
    std_log: float = PRIOR_LOG_STD
    count: int = 0
    forgetting: float = 0.3
    surprise_stds: float = 3.0

    def observe(self, value: float) -> None:
        """Take one measured `value` > 0 into the estimate."""
        deviation = math.log(value) - self.mean_log
        weight = max(self.forgetting, 1.0 / (self.count + 1))
        if self.count and abs(deviation) > self.surprise_stds * max(self.std_log, MIN_STD_LOG):
            weight = min(2.0 * weight, 1.0)
        self.mean_log += weight * deviation
        spread = self.std_log**2 if self.count else 0.0
        self.std_log = math.sqrt((1.0 - weight) * (spread + weight * deviation**2)) if self.count else FIRST_STD_LOG
        self.count += 1

    @property
    def median(self) -> float:
        """Return the estimate itself, in the quantity's own unit."""
        return math.exp(self.mean_log)

    def is_between(self, low: float, high: float) -> bool:
        """Return whether the estimate lies in this range, with a spread that is less than the whole range of floats."""
        log_low, log_high = (math.log(max(bound, MIN_MEASURED)) for bound in (low, high))
        return log_low <= self.mean_log <= log_high and 0.0 <= self.std_log <= MAX_STD_LOG and self.count >= 0


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

    @property
    def is_plausible(self) -> bool:
        """True when hardware can be like that, so that nothing computed from it overflows."""
        return (
            self.s_per_unit.is_between(MIN_S_PER_UNIT, MAX_S_PER_UNIT)
            and self.load_s.is_between(0.0, MAX_LOAD_S)
            and 0.0 <= self.overhead_units <= MAX_OVERHEAD_UNITS
        )

    def generation_s(self, units: float) -> float:
        """Return predicted median seconds of generation for `units` megapixel steps."""
        return self.s_per_unit.median * (units + self.overhead_units)


@dataclass(frozen=True, kw_only=True)
class EstimateTable:
    """Estimates of M models on N nodes as arrays of shape (M, N)."""

    s_per_unit: FloatArray
    overhead_units: FloatArray
    log_std: FloatArray
    load_s: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Kin:
    """What the fleet tells about a node or model that was not measured: medians of logarithms."""

    model_log: dict[str, float]
    model_load_log: dict[str, float]
    model_overhead_units: dict[str, float]
    node_log: dict[str, float]


@dataclass(kw_only=True)
class Estimates:
    """All running estimates, by node and model.

    Attributes:
        by_node: what was measured, by node and model; a pair that is missing here is borrowed when asked for.
        typical_generation: seconds of generation of the last jobs, on any node: the time scale of this installation.
    """

    by_node: dict[str, dict[str, ModelEstimate]] = field(default_factory=dict)
    typical_generation: RunningLogMean = field(
        default_factory=lambda: RunningLogMean(mean_log=0.0, forgetting=TYPICAL_FORGETTING, surprise_stds=math.inf)
    )
    _kin: _Kin | None = field(default=None, init=False, repr=False, compare=False)
    _tables: dict[tuple[tuple[str, ...], tuple[str, ...]], EstimateTable] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lent: dict[tuple[str, str], ModelEstimate] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, node: str, model: str) -> ModelEstimate:
        """Return the estimate of `node` for `model`: measured, or borrowed from what is measured by now.

        A borrowed estimate is the model's median over the nodes that ran it, scaled by how much slower than such
        medians this node is on the models it ran; the prior where nothing is known. Read it only: it is forgotten at
        the next observation.
        """
        measured = self.by_node.get(node, {}).get(model)
        if measured is not None:
            return measured
        if (node, model) not in self._lent:
            self._lent[node, model] = self._borrowed(node, model)
        return self._lent[node, model]

    def table(self, models: Sequence[str], nodes: Sequence[str]) -> EstimateTable:
        """Return the estimates of `models` on `nodes` as arrays; kept until the next observation."""
        key = (tuple(models), tuple(nodes))
        if key not in self._tables:
            estimates = [[self.of(node, model) for node in nodes] for model in models]
            shape = (len(models), len(nodes))

            def array(values: Iterable[float]) -> FloatArray:
                return np.fromiter(values, dtype=np.float64, count=shape[0] * shape[1]).reshape(shape)

            flat = [estimate for row in estimates for estimate in row]
            self._tables[key] = EstimateTable(
                s_per_unit=array(estimate.s_per_unit.median for estimate in flat),
                overhead_units=array(estimate.overhead_units for estimate in flat),
                log_std=array(estimate.s_per_unit.std_log for estimate in flat),
                load_s=array(estimate.load_s.median for estimate in flat),
            )
        return self._tables[key]

    def observe_warm_up(
        self, node: str, model: str, *, load_s: float, s_per_unit: float, overhead_units: float = 0.0
    ) -> None:
        """Take what a worker measured when it started, as the first observation of that node and model.

        What was observed before stays: however often a worker starts and whatever it says then, it is one observation.
        """
        estimate = self._measured(node, model)
        if estimate.s_per_unit.count == 0:
            if 0.0 <= overhead_units <= MAX_OVERHEAD_UNITS:
                estimate.overhead_units = overhead_units
            self._learn_speed(estimate, max(s_per_unit, MIN_S_PER_UNIT), node)
        if estimate.load_s.count == 0:
            self._learn_load(estimate, load_s, node)

    def observe_outcome(self, node: str, model: str, *, units: float, generation_s: float, load_s: float) -> None:
        """Learn from one finished attempt; what no hardware can do is an outlier, and is not learned from.

        Args:
            node: where it ran.
            model: which model made the images.
            units: its work in megapixel steps.
            generation_s: measured seconds of generation, without the load.
            load_s: measured seconds of loading the model; 0 when it was resident.
        """
        estimate = self._measured(node, model)
        rate = generation_s / max(units + estimate.overhead_units, 1e-9)
        if generation_s > 0.0 and self._learn_speed(estimate, rate, node):
            self.typical_generation.observe(generation_s)
        self._learn_load(estimate, load_s, node)

    @staticmethod
    def _learn_speed(estimate: ModelEstimate, s_per_unit: float, node: str) -> bool:
        if not MIN_S_PER_UNIT <= s_per_unit <= MAX_S_PER_UNIT:
            logger.warning("not learned from node %s: %g s for a megapixel step", node, s_per_unit)
            return False
        estimate.s_per_unit.observe(s_per_unit)
        return True

    @staticmethod
    def _learn_load(estimate: ModelEstimate, load_s: float, node: str) -> None:
        if load_s > MAX_LOAD_S:
            logger.warning("not learned from node %s: %g s to load a model", node, load_s)
        elif load_s > 0.0:
            estimate.load_s.observe(load_s)

    def forget(self, node: str) -> None:
        """Forget everything measured of a node."""
        self.by_node.pop(node, None)
        self._forget_derived()

    def fleet_generation_s(self, model: str, units: float) -> float:
        """Return the predicted seconds of a job on the median node: the planner's measure of a job's size."""
        kin = self._kin_by_now()
        s_per_unit = math.exp(_of_kin(kin.model_log, model, math.log(PRIOR_S_PER_UNIT)))
        return s_per_unit * (units + kin.model_overhead_units.get(model, PRIOR_OVERHEAD_UNITS))

    def _measured(self, node: str, model: str) -> ModelEstimate:
        """Return the estimate to update, borrowed at first, and forget what was derived from the old ones."""
        models = self.by_node.setdefault(node, {})
        if model not in models:
            models[model] = self._borrowed(node, model)
        self._forget_derived()
        return models[model]

    def _forget_derived(self) -> None:
        self._kin = None
        self._tables.clear()
        self._lent.clear()

    def _borrowed(self, node: str, model: str) -> ModelEstimate:
        kin = self._kin_by_now()
        mean_log = _of_kin(kin.model_log, model, math.log(PRIOR_S_PER_UNIT)) + kin.node_log.get(node, 0.0)
        known = model in kin.model_log and node in kin.node_log
        return ModelEstimate(
            s_per_unit=RunningLogMean(mean_log=mean_log, std_log=BORROWED_LOG_STD if known else PRIOR_LOG_STD),
            load_s=RunningLogMean(mean_log=_of_kin(kin.model_load_log, model, math.log(PRIOR_LOAD_S))),
            overhead_units=kin.model_overhead_units.get(model, PRIOR_OVERHEAD_UNITS),
        )

    def _kin_by_now(self) -> _Kin:
        if self._kin is None:
            speeds: dict[str, list[float]] = {}
            loads: dict[str, list[float]] = {}
            overheads: dict[str, list[float]] = {}
            for models in self.by_node.values():
                for model, estimate in models.items():
                    if estimate.s_per_unit.count:
                        speeds.setdefault(model, []).append(estimate.s_per_unit.mean_log)
                        overheads.setdefault(model, []).append(estimate.overhead_units)
                    if estimate.load_s.count:
                        loads.setdefault(model, []).append(estimate.load_s.mean_log)
            model_log = {model: median(logs) for model, logs in speeds.items()}
            node_log = {}
            for node, models in self.by_node.items():
                gaps = [e.s_per_unit.mean_log - model_log[model] for model, e in models.items() if e.s_per_unit.count]
                if gaps:
                    node_log[node] = median(gaps)
            self._kin = _Kin(
                model_log=model_log,
                model_load_log={model: median(logs) for model, logs in loads.items()},
                model_overhead_units={model: median(units) for model, units in overheads.items()},
                node_log=node_log,
            )
        return self._kin


def _of_kin(by_model: dict[str, float], model: str, prior: float) -> float:
    """Return the model's own value, else the median of the other models', else the prior."""
    if model in by_model:
        return by_model[model]
    return median(by_model.values()) if by_model else prior
