"""The denoising chain over the shared node network in numpy: how LAD-TS acts, and what a planner serves.

It computes what the torch chain that is trained does (`rl_agent.ladts.diffusion` with `network="shared"`), for two
reasons: serving a policy needs no torch, and on the few rows of a decision numpy takes a quarter of torch's time. What
the columns of an observation mean is not known here; sizes come with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Floating = TypeVar("Floating", np.float32, np.float64)

BETA_MIN = 0.1  # the ends of the paper's variance-preserving schedule (arXiv 2412.18212, eq. 11)
BETA_MAX = 10.0  # likewise
MAX_LOGIT = 10.0
"""e^-10 is 4.5e-5: a node at the bound is chosen once in 22,000 decisions, and its probability can still grow again."""
TIME_EMBEDDING_SIZE = 16
"""Size of the embedding of a denoising step, as in the paper's code."""


@dataclass(frozen=True, kw_only=True)
class NodeDenoiserWeights:
    """Weights of the shared denoiser, float32, H hidden units, F input columns, E = `TIME_EMBEDDING_SIZE`.

    Attributes:
        row_weight: (H, F). row_bias: (H,). latent: (H,), of x_i. time_weight: (H, E), of the embedding of i.
        mixed_weight: (H, H). mixed_bias: (H,). pooled_weight: (H, H).
        output_weight: (1, H). output_bias: (1,).
    """

    row_weight: Float32
    row_bias: Float32
    latent: Float32
    time_weight: Float32
    mixed_weight: Float32
    mixed_bias: Float32
    pooled_weight: Float32
    output_weight: Float32
    output_bias: Float32

    @staticmethod
    def shapes(n_features: int, hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight for `n_features` input columns and `hidden` units."""
        return {
            "row_weight": (hidden, n_features),
            "row_bias": (hidden,),
            "latent": (hidden,),
            "time_weight": (hidden, TIME_EMBEDDING_SIZE),
            "mixed_weight": (hidden, hidden),
            "mixed_bias": (hidden,),
            "pooled_weight": (hidden, hidden),
            "output_weight": (1, hidden),
            "output_bias": (1,),
        }


class NodeChain:
    """The chain from a latent action to logits, H hidden units, F features.

    Args:
        weights: of the denoiser; not copied, so that the chain of a network in training follows it.
        n_denoising_steps: I, the length of the chain.
        prediction: "scored", "residual" or "sample", see `rl_agent.ladts.diffusion.Prediction`.
        max_logit: bound on the logits; None leaves them unbounded.
    """

    PREDICTIONS = ("scored", "residual", "sample")

    def __init__(
        self,
        weights: NodeDenoiserWeights,
        n_denoising_steps: int,
        prediction: str = "scored",
        max_logit: float | None = MAX_LOGIT,
    ) -> None:
        self._row = weights.row_weight.T
        self._row_bias = weights.row_bias
        self._embedding = time_embedding(n_denoising_steps)
        self._time = weights.time_weight.T
        self.latent = weights.latent
        self._mixed = weights.mixed_weight.T
        self._mixed_bias = weights.mixed_bias
        self._pooled = weights.pooled_weight.T
        self._output = weights.output_weight[0]
        self._output_bias = weights.output_bias
        schedule = variance_schedule(n_denoising_steps)
        self._of_x0, self._of_x = schedule["posterior_of_x0"], schedule["posterior_of_xi"]
        self._std = schedule["posterior_std"]
        self.n_denoising_steps = n_denoising_steps
        self.prediction = prediction
        self.max_logit = max_logit

    def __call__(
        self,
        features: Float32,
        eligible: Float32,
        start: Float32,
        score: Float32 | None,
        noise: Callable[[tuple[int, ...]], Float32] | None = None,
    ) -> Float32:
        """Denoise `start` into logits.

        Args:
            features: (B, N, F) the denoiser's input.
            eligible: (B, N) 1 or 0; ineligible nodes are zero inside the chain.
            start: (B, N) x_I.
            score: (B, N) a rule's scores, for "scored".
            noise: draws N(0, 1) of a shape; None: no noise.

        Returns:
            (B, N); -inf where a node is not eligible. NaN where the input or the weights are.
        """
        batch, nodes = start.shape
        share = (eligible / np.maximum(eligible.sum(axis=1, keepdims=True), 1.0))[:, None, :]
        x = start * eligible
        origin = x if score is None else score
        fixed = features.reshape(batch * nodes, -1) @ self._row
        fixed += self._row_bias
        time = self._embedding @ self._time
        hidden, mixed = np.empty_like(fixed), np.empty_like(fixed)
        hidden_by_node, mixed_by_node = (values.reshape(batch, nodes, -1) for values in (hidden, mixed))
        for i in range(self.n_denoising_steps, 0, -1):
            np.multiply(x.reshape(-1, 1), self.latent, out=hidden)
            hidden += fixed
            hidden += time[i - 1]
            np.maximum(hidden, 0.0, out=hidden)
            pooled = np.matmul(share, hidden_by_node)[:, 0] @ self._pooled + self._mixed_bias
            np.matmul(hidden, self._mixed, out=mixed)
            mixed_by_node += pooled[:, None]
            np.maximum(mixed, 0.0, out=mixed)
            output = (mixed @ self._output + self._output_bias).reshape(batch, nodes)
            x = self._of_x0[i - 1] * self._estimate_x0(output, origin) + self._of_x[i - 1] * x
            if noise is not None and i > 1:
                x += self._std[i - 1] * noise(x.shape)
            x *= eligible
        logits: Float32 = np.where(eligible > 0.0, x, np.float32(-np.inf))
        return logits

    def _estimate_x0(self, output: Float32, origin: Float32) -> Float32:
        if self.prediction == "scored":
            if self.max_logit is None:
                return origin + output
            bound = np.float32(self.max_logit / 2)
            corrected: Float32 = origin + bound * np.tanh(output / bound)
            return corrected
        x0 = origin + output if self.prediction == "residual" else output
        return x0 if self.max_logit is None else np.clip(x0, -self.max_logit, self.max_logit)


def variance_schedule(
    n_denoising_steps: int, beta_min: float = BETA_MIN, beta_max: float = BETA_MAX
) -> dict[str, Float32]:
    """Return the chain's constants, each of shape (I,), index i - 1 for denoising step i.

    Returns:
        `alpha_bar`; the weights `posterior_of_x0` and `posterior_of_xi` of the posterior mean; `posterior_std`. At
        i = 1 they are 1, 0 and 0: the last step returns the estimate of x_0 itself.

    Source: arXiv 2412.18212, eq. 11; the posterior is that of DDPM (arXiv 2006.11239, eq. 7).
    """
    i = np.arange(1, n_denoising_steps + 1, dtype=np.float64)
    steps = float(n_denoising_steps)
    beta = 1.0 - np.exp(-beta_min / steps - 0.5 * (beta_max - beta_min) * (2.0 * i - 1.0) / steps**2)
    alpha_bar = np.cumprod(1.0 - beta)
    before = np.concatenate([[1.0], alpha_bar[:-1]])
    constants = {
        "alpha_bar": alpha_bar,
        "posterior_of_x0": np.sqrt(before) * beta / (1.0 - alpha_bar),
        "posterior_of_xi": np.sqrt(1.0 - beta) * (1.0 - before) / (1.0 - alpha_bar),
        "posterior_std": np.sqrt(beta * (1.0 - before) / (1.0 - alpha_bar)),
    }
    return {name: values.astype(np.float32) for name, values in constants.items()}


def time_embedding(n_denoising_steps: int) -> Float32:
    """Return sinusoidal embeddings of the denoising steps 1..I, (I, E).

    Source: arXiv 1706.03762, section 3.5.
    """
    half = TIME_EMBEDDING_SIZE // 2
    frequency = np.exp(-np.log(10_000.0) * np.arange(half) / (half - 1))
    angle = np.arange(1, n_denoising_steps + 1)[:, None] * frequency[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def start_of(latent_action: NDArray[Floating]) -> NDArray[Floating]:
    """Return where a chain starts for a latent action, (..., N): log-probabilities, none below `-MAX_LOGIT`."""
    start: NDArray[Floating] = np.maximum(np.log(np.maximum(latent_action, 1e-12)), -MAX_LOGIT)
    return start


def softmax(logits: NDArray[Floating]) -> NDArray[Floating]:
    """Return probabilities along the last axis, exactly 0 where a logit is -inf."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[Floating] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
