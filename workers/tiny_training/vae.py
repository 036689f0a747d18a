"""Trains the autoencoder: 32 x 32 crops at edges first, whole pictures later, the decoder alone at the end."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from workers.tiny_training.architecture import IMAGE_PX
from workers.tiny_training.drawing import draw
from workers.tiny_training.scenes import sample

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CROP_PX = 32
BATCH = 32  # crops a step; of whole pictures, four times as large, half as many
LEARNING_RATE = 2e-3  # of AdamW, at the peak: after 30 steps of warm-up, before the cosine decay
KL_WEIGHT = 2e-3  # small: latents need a bounded scale, and every bit more of it costs sharpness
GRADIENT_WEIGHT = 0.5  # on edges, which are all that a flat picture has besides its colours
WHOLE_FROM = 0.8
"""Share of the training after which pictures are seen whole: the crops taught the edges at a quarter of the cost."""

DECODER_FROM = 0.85
"""Share after which the encoder is frozen, so that the decoder learns the latents it will meet."""


def pictures(rng: random.Random, number: int, size_px: int = IMAGE_PX) -> torch.Tensor:
    """Draw training pictures: float32, shape (number, 3, size_px, size_px), values -1..1."""
    images = [np.asarray(draw(sample(rng), size_px, rng)[0]) for _ in range(number)]
    return to_tensor(np.stack(images))


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Turn uint8 images of shape (n, height, width, 3) into float32 of shape (n, 3, height, width), values -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


def crops(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Cut one crop out of each image, of four random ones the one with the most contrast."""
    chosen = []
    last = images.shape[-1] - CROP_PX
    for image in images:
        corners = [(rng.randint(0, last), rng.randint(0, last)) for _ in range(4)]
        cut = [image[:, y : y + CROP_PX, x : x + CROP_PX] for y, x in corners]
        chosen.append(max(cut, key=lambda crop: float(crop.std())))
    return torch.stack(chosen)


@dataclass
class VaeTraining:
    """The state of the autoencoder's training; `step` runs from 0 to `steps`."""

    model: AutoencoderKL
    steps: int
    seed: int
    step: int = 0

    def __post_init__(self) -> None:
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)

    def advance(self) -> float:
        """Take one optimiser step on fresh pictures; return the loss."""
        rng = random.Random(f"vae {self.seed} {self.step}")
        progress = self.step / self.steps
        images = pictures(rng, BATCH if progress < WHOLE_FROM else BATCH // 2)
        if progress < WHOLE_FROM:
            images = crops(images, rng)
        if progress >= DECODER_FROM:
            self.model.encoder.requires_grad_(requires_grad=False)
        warm = min(1.0, (self.step + 1) / 30)
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        torch.manual_seed(rng.getrandbits(31))
        loss = reconstruction_loss(self.model, images.to(memory_format=torch.channels_last))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())


def reconstruction_loss(model: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Return L1 + MSE + half the L1 of the image gradients + a little KL."""
    posterior = model.encode(images).latent_dist
    difference = model.decode(posterior.sample()).sample - images
    across, down = difference.diff(dim=-1).abs().mean(), difference.diff(dim=-2).abs().mean()
    pixel = difference.abs().mean() + F.mse_loss(difference, torch.zeros_like(difference))
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    loss: torch.Tensor = pixel + GRADIENT_WEIGHT * (across + down) + KL_WEIGHT * kl
    return loss


@torch.no_grad()
def psnr(model: AutoencoderKL, number: int = 128, seed: int = 7) -> float:
    """Return the peak signal-to-noise ratio of reconstruction on fresh pictures, in dB."""
    images = pictures(random.Random(f"psnr {seed}"), number)
    restored = model.decode(model.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(restored, images)))
