"""How the seconds of a generation grow with its image steps, pixels and images, fitted for one node and model.

seconds = a + b x image steps x megapixels x f(n), with f(n) = 1 + c (n - 1) for n images: a GPU with room to spare
draws four images in little more than the time of one. `WorkLaw` is the shape, a / b and c. The level b is left to
`rl_agent.placing.estimates`, which follows a node that throttles within a few jobs; a shape hardly ever changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FORGETTING = 0.05
"""Of each outcome: the fit is of about the last twenty; with .01, a wrong overhead took 200 outcomes to correct."""
PRIOR_OUTCOMES = 1.0
"""How many outcomes the first shape counts for: what a worker measures at its start, or is borrowed, may be far off."""
RESTORED_OUTCOMES = 1e-4
"""How much the present shape counts for anew with each outcome. Outcomes of equal requests tell nothing of the shape:
without this the fit had no answer after a thousand of them, when what was known before was forgotten."""
MAX_RATIO = 3.0
"""Outcomes further from the present law count as if they were so far: they tell of the level, or of an accident."""
MIN_SLOPE = 0.05
"""Of the fitted level over the present one: otherwise noise could make more work take no time, or less."""
MAX_FURTHER_IMAGE = 2.0
"""Twice the first image: more than any batch costs."""
MAX_OVERHEAD_UNITS = 1e6
"""Hundreds of the largest jobs."""


@dataclass(kw_only=True)
class WorkLaw:
    """Work in megapixel steps of one image that a request amounts to on a node, with all that does not grow with it.

    Attributes:
        overhead_units: a / b, what does not grow with the image steps (text encoding, decoding).
        further_image: c, what each image after the first costs over the first; 1 where images are drawn in turn.
        scale_units: of the first outcome's law, the unit of the fit; 0 before it.
        information: (6,) upper triangle of the weighted sum of outer products of (1, u, u (n - 1)), u units an image.
        moment: (3,) weighted sum of those times the measured work.
    """

    overhead_units: float = 0.0
    further_image: float = 1.0
    scale_units: float = 0.0
    information: Sequence[float] = field(default_factory=lambda: [0.0] * 6)
    moment: Sequence[float] = field(default_factory=lambda: [0.0] * 3)

    def work(self, units: float, n: int = 1) -> float:
        """Return the work of a request of `units` megapixel steps (`work_units`) in `n` images."""
        return units / n * (1.0 + self.further_image * (n - 1)) + self.overhead_units

    def observe(self, units: float, n: int, measured: float) -> float:
        """Fit the shape to one more outcome.

        Args:
            units: of the request, all images together.
            n: images.
            measured: its seconds over the present level.

        Returns:
            What the level must be multiplied by, because the shape changed.
        """
        expected = max(self.work(units, n), 1e-12)
        if self.scale_units == 0.0:
            self._begin(expected)
        ratio = min(max(measured / expected, 1.0 / MAX_RATIO), MAX_RATIO)
        features = np.array([self.scale_units, units / n, units / n * (n - 1)]) / expected
        kept = 1.0 - FORGETTING
        gained = np.outer(features, features) + RESTORED_OUTCOMES * np.eye(3)
        information = kept * np.asarray(self.information) + _triangle(gained)
        moment = kept * np.asarray(self.moment) + features * ratio + RESTORED_OUTCOMES * self._shape()
        try:
            overhead, slope, further = np.linalg.solve(_matrix(information), moment).tolist()
        except np.linalg.LinAlgError:  # requests so unlike that their sum rounds the smaller ones away
            return 1.0
        self.information = information.tolist()
        slope = max(slope, MIN_SLOPE)
        self.overhead_units = min(max(overhead * self.scale_units / slope, 0.0), MAX_OVERHEAD_UNITS)
        self.further_image = min(max(further / slope, 0.0), MAX_FURTHER_IMAGE)
        self.moment = (moment / slope).tolist()
        return float(slope)

    def _begin(self, scale_units: float) -> None:
        """Let the present shape count for `PRIOR_OUTCOMES`, in the unit of the first outcome."""
        self.scale_units = scale_units
        self.information = _triangle(PRIOR_OUTCOMES * np.eye(3)).tolist()
        self.moment = (PRIOR_OUTCOMES * self._shape()).tolist()

    def _shape(self) -> np.ndarray:
        """Return the present shape as what is fitted: its features times this are the expected work."""
        return np.array([self.overhead_units / self.scale_units, 1.0, self.further_image])

    @property
    def is_plausible(self) -> bool:
        """True when it is a law that `observe` can have made."""
        numbers = [self.scale_units, *self.information, *self.moment]
        return (
            0.0 <= self.overhead_units <= MAX_OVERHEAD_UNITS
            and 0.0 <= self.further_image <= MAX_FURTHER_IMAGE
            and (len(self.information), len(self.moment)) == (6, 3)
            and all(math.isfinite(number) for number in numbers)
            and (self.scale_units == 0.0 or bool(np.linalg.eigvalsh(_matrix(self.information))[0] > 0.0))
        )


def _triangle(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(3)]


def _matrix(triangle: Sequence[float]) -> np.ndarray:
    matrix = np.zeros((3, 3))
    matrix[np.triu_indices(3)] = triangle
    return matrix + np.triu(matrix, 1).T
