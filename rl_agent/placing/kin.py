"""What the fleet tells about a node or model that was not measured: its kin, in medians of logarithms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, Self

from rl_agent.placing.outfits import has_adapters, model_of
from rl_agent.placing.running_mean import RunningLogMean
from rl_agent.placing.work_law import WorkLaw


class MeasuredEstimate(Protocol):
    """What is known of a model, or outfit, on one node."""

    @property
    def s_per_unit(self) -> RunningLogMean:
        """Seconds for a megapixel step."""
        ...

    @property
    def load_s(self) -> RunningLogMean:
        """Seconds to load it; of an outfit, its adapters alone."""
        ...

    @property
    def law(self) -> WorkLaw:
        """What a request amounts to in megapixel steps."""
        ...


@dataclass(frozen=True, kw_only=True)
class Kin:
    """Medians over the nodes, by model or by node.

    Attributes:
        model_log: of the speed, by model or outfit; `model_load_log` of the load, by model, and `model_law` likewise.
        adapters_log: how much slower its adapters make a node that has drawn with and without them, by outfit.
        adapters_load_log: of the load of its adapters, by outfit.
        node_log: how much slower a node is than the median, by node.
    """

    model_log: Mapping[str, float]
    model_load_log: Mapping[str, float]
    adapters_log: Mapping[str, float]
    adapters_load_log: Mapping[str, float]
    model_law: Mapping[str, WorkLaw]
    node_log: Mapping[str, float]

    @classmethod
    def of(cls, by_node: Mapping[str, Mapping[str, MeasuredEstimate]]) -> Self:
        """Return the kin of what was measured, by node and model."""
        speeds: dict[str, list[float]] = defaultdict(list)
        loads: dict[str, list[float]] = defaultdict(list)
        laws: dict[str, list[WorkLaw]] = defaultdict(list)
        for models in by_node.values():
            for model, known in models.items():
                if known.s_per_unit.count:
                    speeds[model].append(known.s_per_unit.mean_log)
                    laws[model].append(known.law)
                if known.load_s.count:
                    loads[model].append(known.load_s.mean_log)
        model_log = {model: median(logs) for model, logs in speeds.items()}
        return cls(
            model_log=model_log,
            model_load_log={model: median(logs) for model, logs in loads.items() if not has_adapters(model)},
            adapters_log=_slower_by_adapters(by_node),
            adapters_load_log={model: median(logs) for model, logs in loads.items() if has_adapters(model)},
            model_law={model: _middle(found) for model, found in laws.items()},
            node_log=_slower_nodes(by_node, model_log),
        )


def of_kin(by_model: Mapping[str, float], model: str, prior: float) -> float:
    """Return the model's own value, else the median of the other models', else the prior."""
    if model in by_model:
        return by_model[model]
    return median(by_model.values()) if by_model else prior


def _drawn(models: Mapping[str, MeasuredEstimate]) -> dict[str, float]:
    return {model: known.s_per_unit.mean_log for model, known in models.items() if known.s_per_unit.count}


def _slower_by_adapters(by_node: Mapping[str, Mapping[str, MeasuredEstimate]]) -> dict[str, float]:
    gaps: dict[str, list[float]] = defaultdict(list)
    for drawn in map(_drawn, by_node.values()):
        for outfit in filter(has_adapters, drawn):
            if model_of(outfit) in drawn:
                gaps[outfit].append(drawn[outfit] - drawn[model_of(outfit)])
    return {outfit: median(found) for outfit, found in gaps.items()}


def _slower_nodes(
    by_node: Mapping[str, Mapping[str, MeasuredEstimate]], model_log: Mapping[str, float]
) -> dict[str, float]:
    gaps = {node: [log - model_log[model] for model, log in _drawn(models).items()] for node, models in by_node.items()}
    return {node: median(found) for node, found in gaps.items() if found}


def _middle(laws: Sequence[WorkLaw]) -> WorkLaw:
    """Return the shape of the medians, which nothing has been fitted to."""
    return WorkLaw(
        overhead_units=median(law.overhead_units for law in laws),
        further_image=median(law.further_image for law in laws),
    )
