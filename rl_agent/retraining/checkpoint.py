"""The checkpoint of a round: one safetensors file, written whole or not at all, from which a killed round resumes."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch as th
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rl_agent.ladts.numpy_chain import NodeDenoiserWeights

logger = logging.getLogger(__name__)

METADATA_KEY = "ladle"
BEST, LEARNER = "best.", "learner."


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundState:
    """How far a round of retraining is.

    Attributes:
        base: SHA-256 of the policy that serves.
        rule: the rule that `best` corrects.
        last_id: the newest row of the log that the round has read.
        best: weights that did best on the validations. best_s: their mean service delay there.
        trials: that the search has made.
        is_searched: the search is over.
        decisions: that the learner has made.
        rounds: mean delay on the validations after each find of the search and each round of decisions.
        learner: parameters of actor and critics; before the learner has made decisions, at most the critics of an
            earlier round.
    """

    base: str
    rule: str
    last_id: int
    best: NodeDenoiserWeights
    best_s: float
    trials: int = 0
    is_searched: bool = False
    decisions: int = 0
    rounds: tuple[Mapping[str, Any], ...] = ()
    learner: Mapping[str, th.Tensor] = field(default_factory=dict)

    def is_of_round(self, other: RoundState) -> bool:
        """Return whether both are states of one round: the same policy, rule and experience."""
        return (self.base, self.rule, self.last_id) == (other.base, other.rule, other.last_id)

    @property
    def critics(self) -> dict[str, th.Tensor]:
        """Return the parameters of the critics."""
        return {name: tensor for name, tensor in self.learner.items() if name.startswith("critic")}


_PROGRESS = tuple(f.name for f in fields(RoundState) if f.name not in ("best", "learner"))
"""Fields that are kept as JSON; the other two are tensors."""


def write_checkpoint(path: Path, state: RoundState) -> None:
    """Write `state` to `path` in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    best = {f"{BEST}{name}": th.as_tensor(value) for name, value in vars(state.best).items()}
    learner = {f"{LEARNER}{name}": tensor for name, tensor in state.learner.items()}
    progress = json.dumps({name: getattr(state, name) for name in _PROGRESS})
    data = save({**best, **learner}, metadata={METADATA_KEY: progress})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def read_checkpoint(path: Path) -> RoundState | None:
    """Return the state in `path`; None if there is none, or, with a warning, if it is damaged or of another version."""
    for left_behind in path.parent.glob(f".{path.name}.*"):
        left_behind.unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if set(progress) != set(_PROGRESS):
            raise ValueError(f"it holds {sorted(progress)}, expected were {sorted(_PROGRESS)}")
        best = {name: tensor.numpy() for name, tensor in _below(BEST, tensors).items()}
        state = {**progress, "rounds": tuple(progress["rounds"])}
        return RoundState(**state, best=NodeDenoiserWeights(**best), learner=_below(LEARNER, tensors))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as exc:
        logger.warning("checkpoint %s is damaged or of another version: retraining starts afresh (%s)", path, exc)
        return None


def _below(prefix: str, tensors: Mapping[str, th.Tensor]) -> dict[str, th.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
