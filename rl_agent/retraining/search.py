"""Random search around a policy's weights: try a disturbed copy on the same episodes, keep it if it does better.

The twin is played as often as one likes with the same surprises, so two policies are compared without noise; and what
is compared is the service delay itself. In the time a round has, this finds more than gradient steps do
(docs/retraining.md). The spread follows the success: Rechenberg's rule, about one success in six keeps it as it is.

Source: I. Rechenberg, Evolutionsstrategie (1973); H.-G. Beyer, H.-P. Schwefel, Natural Computing 1 (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rl_agent.ladts.numpy_chain import Float32, NodeDenoiserWeights
from rl_agent.placing.estimates import FloatArray

SPREAD = 0.3
MIN_SPREAD = 0.01
MIN_SCALE = 0.05
WIDER = 1.3
NARROWER = 0.95
DISTURBED = ("row_weight", "latent", "mixed_weight", "output_weight", "output_bias")


class Search:
    """A (1+1) evolution strategy.

    Args:
        weights: to begin with.
        mean_delay_s: plays weights on fixed episodes.
        seed: of the disturbances.

    Attributes:
        best, best_s: what did best so far.
        trials: how many were tried.
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
        """Try one disturbed copy of the best; return whether it did better."""
        self.trials += 1
        tried = replace(self.best, **{name: self._disturb(getattr(self.best, name)) for name in DISTURBED})
        mean_s = self._mean_delay_s(tried)
        is_better = mean_s < self.best_s
        if is_better:
            self.best, self.best_s = tried, mean_s
        self._spread = max(self._spread * (WIDER if is_better else NARROWER), MIN_SPREAD)
        return is_better

    def _disturb(self, values: Float32) -> Float32:
        scale = self._spread * max(float(np.abs(values).mean()), MIN_SCALE)
        noise: FloatArray = scale * self._generator.normal(size=values.shape)
        return (values + noise).astype(np.float32)
