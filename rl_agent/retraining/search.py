"""Random search around a policy's weights: try a perturbed copy on the same episodes, keep it if it does better.

The twin can be replayed with the same random events, so two policies are compared without noise, and on the service
delay itself. In the time that a round has, this finds more than gradient steps do (docs/retraining.md). The spread of
the perturbations adapts by Rechenberg's success rule: at about one success in six it stays as it is.

Source: I. Rechenberg, Evolutionsstrategie (1973); H.-G. Beyer, H.-P. Schwefel, Natural Computing 1 (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rl_agent.ladts.numpy_chain import Float32, NodeDenoiserWeights
from rl_agent.placing.estimates import FloatArray

SPREAD = 0.3
"""Standard deviation of the first perturbations, relative to an array's mean absolute weight."""
MIN_SPREAD = 0.01
"""Smaller perturbations hardly change a placement."""
MIN_SCALE = 0.05
"""Taken as an array's mean absolute weight if that is smaller: the output of a plain rule is all zeros."""
WIDER = 1.3
"""Factor on the spread after a success; with `NARROWER` it cancels at one success in six: 1.3 * 0.95^5 = 1.006."""
NARROWER = 0.95
"""Factor on the spread after a failure."""
PERTURBED = ("row_weight", "latent", "mixed_weight", "output_weight", "output_bias")


class Search:
    """A (1+1) evolution strategy.

    Args:
        weights: to start from.
        mean_delay_s: plays weights on fixed episodes.
        seed: of the perturbations.

    Attributes:
        best: weights that did best so far. best_s: their mean service delay.
        trials: how many perturbed copies were tried.
    """

    def __init__(
        self, weights: NodeDenoiserWeights, mean_delay_s: Callable[[NodeDenoiserWeights], float], seed: int
    ) -> None:
        self.best = weights
        self.best_s = mean_delay_s(weights)
        self.trials = 0
        self._mean_delay_s = mean_delay_s
        self._generator = np.random.default_rng(seed)
        self._spread = SPREAD

    def step(self) -> bool:
        """Try one perturbed copy of the best; return whether it did better."""
        self.trials += 1
        tried = replace(self.best, **{name: self._perturbed(getattr(self.best, name)) for name in PERTURBED})
        mean_s = self._mean_delay_s(tried)
        is_better = mean_s < self.best_s
        if is_better:
            self.best, self.best_s = tried, mean_s
        self._spread = max(self._spread * (WIDER if is_better else NARROWER), MIN_SPREAD)
        return is_better

    def _perturbed(self, values: Float32) -> Float32:
        scale = self._spread * max(float(np.abs(values).mean()), MIN_SCALE)
        noise: FloatArray = scale * self._generator.normal(size=values.shape)
        return (values + noise).astype(np.float32)
