"""The autoencoder's training."""

from __future__ import annotations

import torch

from workers.tiny_training import architecture, vae


def test_an_autoencoder_step_is_the_same_from_the_same_seed():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(vae.VaeTraining(architecture.autoencoder(), 10, seed=3).advance())
    assert losses[0] == losses[1]
