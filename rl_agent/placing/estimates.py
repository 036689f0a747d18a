"""Running estimates of what a node needs for a job: model load time, seconds per unit of work, uncertainty.

Work is measured in *megapixel steps*: image steps x megapixels x images. A node that makes a 1024x1024 image in
28 image steps does 29.4 of them. What a request amounts to on a node is fitted (`work_law`), and how long that takes.
Both learn from every outcome; what a worker measures when it starts is a first guess only. What was never measured is
borrowed from kin: other nodes with that model, other models on that node. A model with adapters (an outfit) has
estimates of its own, borrowed from the model's own at first; its load is that of the adapters alone. Left out: links
(`observation`), the backlog (`backlog`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.kin import Kin, of_kin
from rl_agent.placing.outfits import has_adapters, model_of
from rl_agent.placing.running_mean import PRIOR_LOG_STD, RunningLogMean
from rl_agent.placing.work_law import MAX_OVERHEAD_UNITS, WorkLaw

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

# Priors are guesses, replaced by the warm-up or the first outcome of any node that has the model.
PRIOR_S_PER_UNIT = 1.0
PRIOR_LOAD_S = 10.0
PRIOR_ADAPTERS_LOAD_S = 1.0
BORROWED_LOG_STD = 0.4  # a factor of 1.5 either way: kin tell more than a prior
TYPICAL_FORGETTING = 0.02  # a mean over about the last 50 jobs, so that one odd job does not change the scale of time
# What no hardware can do, or is no measurement any more; broker_config.bounds lets nodes report no more than this.
MIN_S_PER_UNIT = 1e-9  # s for a megapixel step: a no-op engine takes microseconds
MAX_S_PER_UNIT = 1e6  # 11 days for a megapixel step
MAX_LOAD_S = 1e5
MAX_MODELS = 1000  # of one node: as many as it may report


def work_units(*, num_inference_steps: int, width_px: int, height_px: int, n: int) -> float:
    """Return the work of a request in megapixel steps."""
    return num_inference_steps * width_px * height_px * 1e-6 * n


@dataclass(kw_only=True)
class ModelEstimate:
    """What one node needs for one model: seconds to load it and seconds per megapixel step of one image.

    Attributes:
        law: what a request amounts to in megapixel steps of one image.
    """

    s_per_unit: RunningLogMean
    load_s: RunningLogMean
    law: WorkLaw = field(default_factory=WorkLaw)

    @property
    def is_plausible(self) -> bool:
        """True when hardware can be like that, so that nothing computed from it overflows."""
        return (
            self.s_per_unit.is_between(MIN_S_PER_UNIT, MAX_S_PER_UNIT)
            and self.load_s.is_between(0.0, MAX_LOAD_S)
            and self.law.is_plausible
        )

    @property
    def is_measured(self) -> bool:
        """True when a job has told how long it takes; before that the speed is a guess."""
        return self.law.scale_units > 0.0

    @property
    def is_guess(self) -> bool:
        """True when only the worker's start has told how long a job takes."""
        return self.s_per_unit.count > 0 and not self.is_measured

    def generation_s(self, units: float, n: int = 1) -> float:
        """Return predicted median seconds of generation for `units` megapixel steps in `n` images."""
        return self.s_per_unit.median * self.law.work(units, n)


@dataclass(frozen=True, kw_only=True)
class EstimateTable:
    """Estimates of M models on N nodes as arrays of shape (M, N)."""

    s_per_unit: FloatArray
    overhead_units: FloatArray
    further_image: FloatArray
    log_std: FloatArray
    load_s: FloatArray


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
    _kin: Kin | None = field(default=None, init=False, repr=False, compare=False)
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
                overhead_units=array(estimate.law.overhead_units for estimate in flat),
                further_image=array(estimate.law.further_image for estimate in flat),
                log_std=array(estimate.s_per_unit.std_log for estimate in flat),
                load_s=array(estimate.load_s.median for estimate in flat),
            )
        return self._tables[key]

    def observe_warm_up(
        self, node: str, model: str, *, load_s: float, s_per_unit: float, overhead_units: float = 0.0
    ) -> None:
        """Take what a worker measured of one model when it started (`observe_warm_ups`)."""
        self.observe_warm_ups(node, {model: (load_s, s_per_unit, overhead_units)})

    def observe_warm_ups(self, node: str, measured: Mapping[str, tuple[float, float, float]]) -> set[str]:
        """Take what a worker measured when it started, as the first observation of that node and its models.

        What was observed before stays: however often a worker starts and whatever it says then, it is one observation.
        Nothing is borrowed before all are taken, so that a thousand models cost no more than a thousand steps. Of more
        than `MAX_MODELS` models of a node nothing is learned here: a worker may name others at each start.

        Args:
            node: where the worker runs.
            measured: seconds to load, seconds for a megapixel step, and overhead in megapixel steps, by model.

        Returns:
            The models whose estimates may have changed.
        """
        models = self.by_node.setdefault(node, {})
        borrowed = {name: self._borrowed(node, name) for name in measured if name not in models}
        room = max(MAX_MODELS - len(models), 0)
        if len(borrowed) > room:
            logger.warning("not learned from node %s: more than %d models", node, MAX_MODELS)
        models |= dict(list(borrowed.items())[:room])
        self._forget_derived()
        known = measured.keys() & models.keys()
        for name in known:
            self._take_guess(models[name], *measured[name], node)
        return known

    def _take_guess(
        self, estimate: ModelEstimate, load_s: float, s_per_unit: float, overhead_units: float, node: str
    ) -> None:
        if estimate.s_per_unit.count == 0:
            if 0.0 <= overhead_units <= MAX_OVERHEAD_UNITS:
                estimate.law = WorkLaw(overhead_units=overhead_units)
            self._learn_speed(estimate, max(s_per_unit, MIN_S_PER_UNIT), node)
        if estimate.load_s.count == 0:
            self._learn_load(estimate, load_s, node)

    def observe_outcome(
        self, node: str, model: str, *, units: float, generation_s: float, load_s: float, n: int = 1
    ) -> set[str]:
        """Learn from one finished attempt; what no hardware can do is an outlier, and is not learned from.

        The first outcome after a guess tells how wrong guesses of this model are: those of nodes that have finished
        nothing yet are corrected likewise. Otherwise a node whose worker started on a busy machine is never tried.

        Args:
            node: where it ran.
            model: which model made the images.
            units: its work in megapixel steps.
            generation_s: measured seconds of generation, without the load.
            load_s: measured seconds of loading the model; 0 when it was resident.
            n: images that share the work.

        Returns:
            The other nodes whose estimates for this model have changed.
        """
        estimate = self._measured(node, model)
        rate = generation_s / max(estimate.law.work(units, n), 1e-9)
        guess_log = estimate.s_per_unit.mean_log if estimate.is_guess else None
        corrected: set[str] = set()
        if generation_s > 0.0 and self._learn_speed(estimate, rate, node):
            measured = generation_s / estimate.s_per_unit.median
            estimate.s_per_unit.mean_log += math.log(estimate.law.observe(units, n, measured))
            self.typical_generation.observe(generation_s)
            if guess_log is not None:
                corrected = self._correct_guesses(model, math.log(rate) - guess_log)
        self._learn_load(estimate, load_s, node)
        return corrected

    def _correct_guesses(self, model: str, error_log: float) -> set[str]:
        """Move the guesses of a model by the mean error of those that have met an outcome, this newest one included."""
        known = {node: models[model] for node, models in self.by_node.items() if model in models}
        share = 1.0 / max(sum(estimate.is_measured for estimate in known.values()), 1)
        guesses = {node: estimate for node, estimate in known.items() if estimate.is_guess}
        for estimate in guesses.values():
            estimate.s_per_unit.mean_log += share * error_log
        return set(guesses)

    @staticmethod
    def _learn_speed(estimate: ModelEstimate, s_per_unit: float, node: str) -> bool:
        if not MIN_S_PER_UNIT <= s_per_unit <= MAX_S_PER_UNIT:
            logger.warning("not learned from node %s: %g s for a megapixel step", node, s_per_unit)
            return False
        if estimate.is_guess:
            estimate.s_per_unit.replace_guess(s_per_unit)
        else:
            estimate.s_per_unit.observe(s_per_unit)
        return True

    @staticmethod
    def _learn_load(estimate: ModelEstimate, load_s: float, node: str) -> None:
        if load_s > MAX_LOAD_S:
            logger.warning("not learned from node %s: %g s to load a model", node, load_s)
        elif load_s > 0.0:
            estimate.load_s.observe(load_s)

    def observe_load(self, node: str, model: str, load_s: float) -> None:
        """Learn from the load of a model alone, measured in seconds; 0 when it was resident."""
        self._learn_load(self._measured(node, model), load_s, node)

    def forget(self, node: str) -> None:
        """Forget everything measured of a node."""
        self.by_node.pop(node, None)
        self._forget_derived()

    def fleet_generation_s(self, model: str, units: float, n: int = 1) -> float:
        """Return the predicted seconds of a job on the median node: the planner's measure of a job's size.

        Args:
            model: or outfit; one that no node has drawn with yet counts as its model.
            units: of work, in megapixel steps.
            n: images that share the work.
        """
        kin = self._kin_by_now()
        model = model if model in kin.model_log else model_of(model)
        s_per_unit = math.exp(of_kin(kin.model_log, model, math.log(PRIOR_S_PER_UNIT)))
        return s_per_unit * kin.model_law.get(model, WorkLaw()).work(units, n)

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
        if has_adapters(model):
            return self._borrowed_from_model(node, model, kin)
        mean_log = of_kin(kin.model_log, model, math.log(PRIOR_S_PER_UNIT)) + kin.node_log.get(node, 0.0)
        known = model in kin.model_log and node in kin.node_log
        return ModelEstimate(
            s_per_unit=RunningLogMean(mean_log=mean_log, std_log=BORROWED_LOG_STD if known else PRIOR_LOG_STD),
            load_s=RunningLogMean(mean_log=of_kin(kin.model_load_log, model, math.log(PRIOR_LOAD_S))),
            law=replace(kin.model_law.get(model, WorkLaw())),
        )

    def _borrowed_from_model(self, node: str, outfit: str, kin: Kin) -> ModelEstimate:
        """Return what adapters make of the node's estimate for their model: as much as they did on other nodes."""
        own = self.of(node, model_of(outfit))
        mean_log = own.s_per_unit.mean_log + kin.adapters_log.get(outfit, 0.0)
        return ModelEstimate(
            s_per_unit=RunningLogMean(mean_log=mean_log, std_log=BORROWED_LOG_STD),
            load_s=RunningLogMean(mean_log=of_kin(kin.adapters_load_log, outfit, math.log(PRIOR_ADAPTERS_LOAD_S))),
            law=replace(kin.model_law.get(outfit, own.law), scale_units=0.0),
        )

    def _kin_by_now(self) -> Kin:
        if self._kin is None:
            self._kin = Kin.of(self.by_node)
        return self._kin
