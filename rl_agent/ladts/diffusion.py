"""The denoising chain that turns a latent action into a categorical policy over nodes.

Only the chain is here: the step from x_i to x_{i-1}, and the mask at its end. Its constants and its form without torch
are in ``rl_agent.ladts.numpy_chain``, networks in ``rl_agent.ladts.networks``. ``rl_agent.ladts.policies`` keeps latent
actions between decisions.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch as th
from torch import nn

from rl_agent.ladts.numpy_chain import BETA_MAX, BETA_MIN, MAX_LOGIT, variance_schedule

Prediction = Literal["residual", "scored", "sample", "epsilon", "softmax"]
"""What the network's output means.

``residual``  a correction of the latent action's logits: x_0 = x_I + network. A network that answers zero leaves the
              latent action as it is, so a chain started from a rule's scores plays that rule before any learning.
``scored``    a correction of a rule's scores: x_0 = score + network, wherever the chain starts. A network that answers
              zero plays the rule, even for a job with an outdated latent action. The correction stays within half of
              ``max_logit``, so that a node whose score is ``-max_logit`` never overtakes one whose score is 0.
``sample``    x_0 itself.
``epsilon``   the noise in x_i, as in the paper.
``softmax``   as ``epsilon``, but with a softmax on the network's output, as in the published code: the network can
              then only subtract, and x_I is amplified 12.5 times.
"""


class Denoiser(nn.Module):
    """A network inside the chain: ``forward(x, i, condition)`` with x of shape (batch, nodes), same shape out.

    ``i`` counts down from ``n_denoising_steps`` to 1. ``condition`` is what ``encode`` made of the observation, once
    per chain, so that work on the observation is not repeated at every denoising step.
    """

    def encode(self, observation: th.Tensor) -> tuple[th.Tensor, ...]:
        """Return what ``forward`` needs of the observation."""
        return (observation,)

    def forward(self, x: th.Tensor, i: int, condition: tuple[th.Tensor, ...]) -> th.Tensor:
        """Return the network's output for denoising step ``i``, shape (batch, nodes)."""
        raise NotImplementedError


class DenoisingChain(nn.Module):
    """Denoises a latent action into logits over the nodes.

    Args:
        network: the denoiser; called once per denoising step.
        n_denoising_steps: I, the length of the chain.
        beta_min: lower end of the variance-preserving schedule.
        beta_max: upper end of it.
        prediction: what the network's output means, see ``Prediction``.
        max_logit: bound on |x_0|; None leaves it unbounded, as in the published code.

    Raises:
        ValueError: ``n_denoising_steps`` < 1 or an unknown ``prediction``.

    Source: arXiv 2412.18212, eqs. 11-14 (beta_i, posterior mean and variance).
    Differs: the default predicts a residual on the latent action and bounds x_0; the paper predicts noise.
    """

    def __init__(
        self,
        network: Denoiser,
        n_denoising_steps: int = 5,
        beta_min: float = BETA_MIN,
        beta_max: float = BETA_MAX,
        prediction: Prediction = "residual",
        max_logit: float | None = MAX_LOGIT,
    ) -> None:
        super().__init__()
        if n_denoising_steps < 1:
            raise ValueError(f"n_denoising_steps is {n_denoising_steps}: a chain needs at least one step")
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction {prediction!r} is unknown: use one of {get_args(Prediction)}")
        self.network = network
        self.n_denoising_steps = n_denoising_steps
        self.prediction = prediction
        self.max_logit = max_logit
        # Plain numbers: indexing a tensor costs as much as the arithmetic on a small batch.
        schedule = variance_schedule(n_denoising_steps, beta_min, beta_max)
        self.alpha_bar: list[float] = schedule["alpha_bar"].tolist()
        self.posterior_of_x0: list[float] = schedule["posterior_of_x0"].tolist()
        self.posterior_of_xi: list[float] = schedule["posterior_of_xi"].tolist()
        self.posterior_std: list[float] = schedule["posterior_std"].tolist()

    def forward(
        self,
        start: th.Tensor,
        observation: th.Tensor,
        eligible: th.Tensor | None = None,
        deterministic: bool = False,
        score: th.Tensor | None = None,
    ) -> th.Tensor:
        """Denoise ``start`` into logits.

        Args:
            start: x_I, shape (batch, nodes): noise, or what a latent action starts it from (``start_of``).
            observation: passed on to the network's ``encode``.
            eligible: boolean, shape (batch, nodes). Ineligible nodes are zero inside the chain and get the lowest
                finite logit at its end, hence probability exactly 0. Every row needs at least one eligible node.
            deterministic: draw no noise at all.
            score: a rule's scores in logits, shape (batch, nodes); needed for ``scored``.

        Returns:
            Logits, shape (batch, nodes).

        Raises:
            ValueError: ``scored`` without a score.
        """
        weight = None if eligible is None else eligible.to(start.dtype)
        origin = start if weight is None else start * weight
        x = origin
        if self.prediction == "scored":
            if score is None:
                raise ValueError("prediction 'scored' corrects a rule's scores: the layout must name their column")
            origin = score
        condition = self.network.encode(observation)
        for i in range(self.n_denoising_steps, 0, -1):
            x0 = self._estimate_x0(x, origin, i, condition)
            if i == 1:
                x = x0
                break
            x = th.add(self.posterior_of_x0[i - 1] * x0, x, alpha=self.posterior_of_xi[i - 1])
            if not deterministic:
                x = th.add(x, th.randn_like(x), alpha=self.posterior_std[i - 1])
            if weight is not None:
                x = x * weight
        return x if eligible is None else x.masked_fill(~eligible, th.finfo(x.dtype).min)

    def _estimate_x0(self, x: th.Tensor, origin: th.Tensor, i: int, condition: tuple[th.Tensor, ...]) -> th.Tensor:
        output: th.Tensor = self.network(x, i, condition)
        if self.prediction == "scored":
            return origin + bounded(output, 0.5 * self.max_logit) if self.max_logit else origin + output
        if self.prediction == "residual":
            x0 = origin + output
        elif self.prediction == "sample":
            x0 = output
        else:
            noise = th.softmax(output, dim=-1) if self.prediction == "softmax" else output
            alpha_bar = self.alpha_bar[i - 1]
            x0 = (x - math.sqrt(1 - alpha_bar) * noise) / math.sqrt(alpha_bar)
        return x0 if self.max_logit is None else x0.clamp(-self.max_logit, self.max_logit)


def bounded(values: th.Tensor, bound: float) -> th.Tensor:
    """Return ``values`` squashed smoothly into (-bound, bound)."""
    return bound * th.tanh(values / bound)
