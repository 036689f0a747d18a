"""Trains the transformer and both text encoders by flow matching on cached latents.

A second task helps: from the image tokens in the middle of the network a linear layer names the colour and the shape at
each place of the clean picture. It makes the network decide early what goes where, and is discarded afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from workers.tiny_training.architecture import MIDDLE_BLOCK, TEXT_WIDTH, WIDTH
from workers.tiny_training.attention import WeightedJointAttention
from workers.tiny_training.drawing import UNLABELLED
from workers.tiny_training.vocabulary import BACKGROUNDS, SHAPES

if TYPE_CHECKING:
    from diffusers import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

BATCH = 64  # pictures of 64 px a step: 64 image tokens each, 4,096 in all
LARGE_BATCH = 28  # pictures of 96 px a step: 144 image tokens each, 4,032 in all, so that a step costs the same
LARGE_SHARE = 0.1
"""Share of the steps that see the larger pictures."""

LEARNING_RATE = 1.5e-3  # of AdamW, at the peak: after the warm-up, before the cosine decay
WARM_UP = 100  # steps, 2 % of the training, until AdamW's running averages hold
EMA_DECAY = 0.999  # the shipped weights are an average over about the last thousand steps
UNCONDITIONAL = 0.1
"""Share of captions replaced by the empty text, for classifier-free guidance."""

UNIFORM = 0.2
"""Share of uniform noise levels; the others are logit-normal, as in SD3."""

TRAINING_SHIFT = 2.0  # of noise levels towards noise; SD3's is 3, for pictures of 256 times the pixels
LABEL_WEIGHT = 0.2  # of the second task, which must help the first and not outweigh it
COUNTS = (1, 256)
"""Numbers of zero tokens after the text that training draws from."""


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Cached pictures of one size.

    `latents`: (n, 4, h, w), scaled to unit variance. `tokens`: (n, 20). `labels`: (n, 2, h / 2, w / 2), see `draw`.
    """

    latents: torch.Tensor
    tokens: torch.Tensor
    labels: torch.Tensor


class TextToLatent(nn.Module):
    """Everything that flow matching trains, wired as `StableDiffusion3Pipeline` wires it without T5."""

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        text_encoder: CLIPTextModelWithProjection,
        text_encoder_2: CLIPTextModelWithProjection,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2

    def forward(self, noisy: torch.Tensor, tokens: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
        """Predict the velocity (noise minus latents), shape as `noisy`, from noise levels of 0..1."""
        texts = [encoder(tokens, output_hidden_states=True) for encoder in (self.text_encoder, self.text_encoder_2)]
        words = torch.cat([text.hidden_states[-2] for text in texts], dim=-1)
        words = torch.cat([words, words.new_zeros(len(words), 1, 2 * TEXT_WIDTH)], dim=1)
        pooled = torch.cat([text.text_embeds for text in texts], dim=-1)
        velocity: torch.Tensor = self.transformer(noisy, words, pooled, timestep=noise_level * 1000, return_dict=False)[
            0
        ]
        return velocity


class FlowTraining:
    """The state of the flow-matching training; `step` runs from 0 to `steps`.

    Args:
        model: what is trained.
        small, large: cached pictures of 64 and 96 px.
        empty: tokens of the empty text, shape (20,).
        steps: length of the one schedule.
        seed: decides the batches, the noise and the dropped captions.
    """

    def __init__(
        self, model: TextToLatent, small: Latents, large: Latents, empty: torch.Tensor, steps: int, seed: int
    ) -> None:
        self.model, self.small, self.large, self.empty = model, small, large, empty
        self.steps, self.seed, self.step = steps, seed, 0
        self.attention = WeightedJointAttention()
        model.transformer.set_attn_processor(self.attention)
        self.labeller = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(BACKGROUNDS) + len(SHAPES) + 1))
        model.transformer.transformer_blocks[MIDDLE_BLOCK].register_forward_hook(self._keep)
        self._middle = torch.empty(0)
        self.parameters = [*model.parameters(), *self.labeller.parameters()]
        self.average = [parameter.detach().clone() for parameter in model.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def _keep(self, module: nn.Module, inputs: object, outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._middle = outputs[1]

    def advance(self) -> tuple[float, float]:
        """Take one optimiser step; return the flow-matching loss and the label loss."""
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * self._pace()
        flow, label = self._losses(chance)
        self.optimizer.zero_grad()
        (flow + LABEL_WEIGHT * label).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, self.step / (self.step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1 - decay)
        return float(flow.detach()), float(label.detach())

    def _pace(self) -> float:
        warm = min(1.0, (self.step + 1) / WARM_UP)
        return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * self.step / self.steps)) / 2)

    def _losses(self, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        large = bool(torch.rand((), generator=chance) < LARGE_SHARE)
        source, batch = (self.large, LARGE_BATCH) if large else (self.small, BATCH)
        rows = torch.randint(len(source.latents), (batch,), generator=chance)
        latents = source.latents[rows].float()
        dropped = torch.rand(batch, 1, generator=chance) < UNCONDITIONAL
        tokens = torch.where(dropped, self.empty, source.tokens[rows])
        level = noise_levels(batch, chance)
        noise = torch.randn(latents.shape, generator=chance)
        spread = level[:, None, None, None]
        noisy = torch.lerp(latents, noise, spread)
        counts = torch.tensor(COUNTS)[torch.randint(len(COUNTS), (batch, 1, 1), generator=chance)]
        self.attention.log_count = counts.log()
        with torch.autocast("cpu", torch.bfloat16):
            velocity = self.model(noisy, tokens, level)
            named = self.labeller(self._middle)
        flow = F.mse_loss(velocity.float(), noise - latents)
        label = _label_loss(named.float(), source.labels[rows].long(), dropped)
        return flow, label

    def use_average(self) -> None:
        """Give the model its averaged weights: what is shipped."""
        with torch.no_grad():
            for parameter, average in zip(self.model.parameters(), self.average, strict=True):
                parameter.copy_(average)


def noise_levels(number: int, chance: torch.Generator) -> torch.Tensor:
    """Draw noise levels in 0..1: logit-normal mixed with uniform, shifted towards noise. Shape (number,).

    Source: Esser et al. 2024, "Scaling Rectified Flow Transformers", sections 3.1 and 5.3.2.
    """
    normal = torch.sigmoid(torch.randn(number, generator=chance))
    uniform = torch.rand(number, generator=chance)
    level = torch.where(torch.rand(number, generator=chance) < UNIFORM, uniform, normal)
    return TRAINING_SHIFT * level / (1 + (TRAINING_SHIFT - 1) * level)


def _label_loss(named: torch.Tensor, labels: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of colour and shape names per cell; without a caption there is nothing to learn."""
    labels = labels.flatten(2).masked_fill(dropped[..., None], UNLABELLED)
    colour, shape = torch.split(named, [len(BACKGROUNDS), len(SHAPES) + 1], dim=-1)
    losses = [
        F.cross_entropy(names.flatten(0, 1), truth.flatten(), ignore_index=UNLABELLED)
        for names, truth in ((colour, labels[:, 0]), (shape, labels[:, 1]))
    ]
    return losses[0] + losses[1]
