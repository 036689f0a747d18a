"""The served policy: rows of a job and its latent action in, logits over its nodes out. Only numpy is needed.

The chain itself is `rl_agent.ladts.numpy_chain`; reading and writing policy folders is `rl_agent.policy.file`.
"""

from __future__ import annotations

import numpy as np

from rl_agent.ladts.numpy_chain import Float32, NodeChain, NodeDenoiserWeights, start_of
from rl_agent.policy.rows import COLUMN, JOB_COLUMNS, NODE_COLUMNS

CHUNK = 32
"""Decisions computed at once: their activations stay in the second-level cache."""

INPUT_COLUMNS = [COLUMN[name] for name in (*JOB_COLUMNS, *NODE_COLUMNS)]
"""What the denoiser reads of a row, in the order of its weights."""


class NodePolicy:
    """Maps rows of a job to logits over its nodes.

    Args:
        weights: of the denoiser.
        n_denoising_steps: length of the chain.
    """

    def __init__(self, weights: NodeDenoiserWeights, n_denoising_steps: int) -> None:
        self._chain = NodeChain(weights, n_denoising_steps)
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
            answer[chunk] = self._denoise(rows[chunk], latent_action[chunk])
        return answer

    def _denoise(self, rows: Float32, latent_action: Float32) -> Float32:
        score = rows[:, :, COLUMN["score"]]
        is_first = np.isnan(latent_action[:, :1])
        start = np.where(is_first, score, start_of(latent_action))
        return self._chain(rows[:, :, INPUT_COLUMNS], rows[:, :, COLUMN["eligible"]], start, score)
