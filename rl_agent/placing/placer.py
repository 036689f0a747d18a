"""The seam between planner and placement: what a placer is, and what it answers.

A placer sees one `Observation` and answers for each job: a node, or WAITING. It never gives a node more attempts than
it has room for. The rules are in `rules`, the learned placer in `rl_agent.policy`; docs/placers.md shows how to write
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.observation import Observation

WAITING = -1  # no column of an observation


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A placer's answer for the J jobs of an observation over N nodes.

    Attributes:
        node: (J,) index of the chosen node, or `WAITING`.
        probabilities: (J, N) of the choice. A deterministic rule puts 1 on the node it prefers, which is a busy one if
            the job waits for it.
        propensity: (J,) how likely each chosen node was to be chosen, if `probabilities` do not say so: a policy that
            takes its most probable node takes it with certainty.
        rank: (J,) the order in which the jobs were decided, least first; None: that of the rows. Two jobs of one batch
            reach their node in this order.
        rows: by row of the observation, what a learned policy read of each job it placed.
        versions: by row, the version of the policy that placed the job.
    """

    node: NDArray[np.int64]
    probabilities: FloatArray
    propensity: FloatArray | None = None
    rank: NDArray[np.int64] | None = None
    rows: Mapping[int, NDArray[np.float32]] | None = None
    versions: Mapping[int, str | None] = field(default_factory=dict)

    def propensity_of(self, job: int) -> float:
        """Return how likely the node of row `job`, which was placed, was to be chosen."""
        return float(self.probabilities[job, self.node[job]] if self.propensity is None else self.propensity[job])

    def in_order(self) -> list[int]:
        """Return all rows in the order in which they were decided."""
        rows: list[int] = (
            np.arange(len(self.node)).tolist() if self.rank is None else self.rank.argsort(kind="stable").tolist()
        )
        return rows


class Placer(Protocol):
    """Chooses a node for every WAITING job, or leaves it WAITING."""

    @property
    def name(self) -> str:
        """Return the name it is chosen by (`LADLE_PLACER`)."""
        ...

    @property
    def policy_version(self) -> str | None:
        """Return the version of the learned policy, None for a rule."""
        ...

    def place(self, observation: Observation) -> Placement:
        """Answer for all jobs of `observation`, in their order."""
        ...
