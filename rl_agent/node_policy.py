"""The served policy: the denoising chain over the shared node network, in numpy.

The same arithmetic as `rl_agent.ladts` with `network="shared"`, `prediction="scored"` and `deterministic=True`, so that
the planner needs no torch. Reading and writing policy folders is `policy_file`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_agent.policy_input import COLUMN, JOB_COLUMNS, NODE_COLUMNS

Float32 = NDArray[np.float32]

BETA_MIN = 0.1
BETA_MAX = 10.0
MAX_LOGIT = 10.0
MAX_CORRECTION = np.float32(MAX_LOGIT / 2)
TIME_EMBEDDING_SIZE = 16
CHUNK = 32
"""Decisions computed at once: their activations stay in the second-level cache."""

_INPUT_COLUMNS = [COLUMN[name] for name in (*JOB_COLUMNS, *NODE_COLUMNS)]


@dataclass(frozen=True, kw_only=True)
class NodePolicyWeights:
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
    def shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight for `hidden` units."""
        return {
            "row_weight": (hidden, len(_INPUT_COLUMNS)),
            "row_bias": (hidden,),
            "latent": (hidden,),
            "time_weight": (hidden, TIME_EMBEDDING_SIZE),
            "mixed_weight": (hidden, hidden),
            "mixed_bias": (hidden,),
            "pooled_weight": (hidden, hidden),
            "output_weight": (1, hidden),
            "output_bias": (1,),
        }


class NodePolicy:
    """Maps rows of a job to logits over its nodes.

    Args:
        weights: of the denoiser.
        n_denoising_steps: length of the chain.
    """

    def __init__(self, weights: NodePolicyWeights, n_denoising_steps: int) -> None:
        self._row = np.ascontiguousarray(weights.row_weight.T)
        self._row_bias = time_embedding(n_denoising_steps) @ weights.time_weight.T + weights.row_bias
        self._latent = weights.latent
        self._mixed = np.ascontiguousarray(weights.mixed_weight.T)
        self._mixed_bias = weights.mixed_bias
        self._pooled = np.ascontiguousarray(weights.pooled_weight.T)
        self._output = np.ascontiguousarray(weights.output_weight[0])
        self._output_bias = weights.output_bias[0]
        self._of_x0, self._of_x = posterior_weights(n_denoising_steps)
        self.n_denoising_steps = n_denoising_steps

    def logits(self, rows: Float32, latent_action: Float32) -> Float32:
        """Denoise latent actions into logits.

        Args:
            rows: (B, N, columns) of `PolicyInput`.
            latent_action: (B, N) last action probabilities, rows of NaN for a job that has none.

        Returns:
            (B, N); -inf where a node is not eligible. NaN where the input or the weights are.
        """
        answer = np.empty(rows.shape[:2], dtype=np.float32)
        for begin in range(0, len(rows), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            answer[chunk] = self._chain(rows[chunk], latent_action[chunk])
        return answer

    def _chain(self, rows: Float32, latent_action: Float32) -> Float32:
        eligible = rows[:, :, COLUMN["eligible"]]
        score = rows[:, :, COLUMN["score"]]
        share = (eligible / np.maximum(eligible.sum(axis=1, keepdims=True), 1.0))[:, None, :]
        is_first = np.isnan(latent_action[:, :1])
        latent_logits = np.log(np.maximum(latent_action, 1e-12))
        x = np.where(is_first, score, np.maximum(latent_logits, -MAX_LOGIT)) * eligible
        fixed = rows[:, :, _INPUT_COLUMNS] @ self._row
        hidden = np.empty_like(fixed)
        for i in range(self.n_denoising_steps, 0, -1):
            np.multiply(x[:, :, None], self._latent, out=hidden)
            hidden += fixed
            hidden += self._row_bias[i - 1]
            np.maximum(hidden, 0.0, out=hidden)
            pooled = (share @ hidden) @ self._pooled + self._mixed_bias
            mixed = hidden @ self._mixed
            mixed += pooled
            np.maximum(mixed, 0.0, out=mixed)
            correction = MAX_CORRECTION * np.tanh((mixed @ self._output + self._output_bias) / MAX_CORRECTION)
            x = (self._of_x0[i - 1] * (score + correction) + self._of_x[i - 1] * x) * eligible
        return np.where(eligible > 0.0, x, np.float32(-np.inf))


def posterior_weights(n_denoising_steps: int) -> tuple[Float32, Float32]:
    """Return the weights of x_0 and x_i in the posterior mean, (I,) each, index i - 1.

    Source: arXiv 2412.18212, eq. 11; arXiv 2006.11239, eq. 7.
    """
    i = np.arange(1, n_denoising_steps + 1, dtype=np.float64)
    steps = float(n_denoising_steps)
    beta = 1.0 - np.exp(-BETA_MIN / steps - 0.5 * (BETA_MAX - BETA_MIN) * (2.0 * i - 1.0) / steps**2)
    alpha_bar = np.cumprod(1.0 - beta)
    before = np.concatenate([[1.0], alpha_bar[:-1]])
    of_x0 = np.sqrt(before) * beta / (1.0 - alpha_bar)
    of_x = np.sqrt(1.0 - beta) * (1.0 - before) / (1.0 - alpha_bar)
    return of_x0.astype(np.float32), of_x.astype(np.float32)


def time_embedding(n_denoising_steps: int) -> Float32:
    """Return sinusoidal embeddings of the denoising steps 1..I, (I, E).

    Source: arXiv 1706.03762, section 3.5.
    """
    half = TIME_EMBEDDING_SIZE // 2
    frequency = np.exp(-np.log(10_000.0) * np.arange(half) / (half - 1))
    angle = np.arange(1, n_denoising_steps + 1)[:, None] * frequency[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
