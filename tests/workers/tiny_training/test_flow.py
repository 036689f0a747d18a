"""Flow matching."""

from __future__ import annotations

import torch

from workers.tiny_training import flow


def test_noise_levels_lie_between_0_and_1_and_lean_towards_noise():
    levels = flow.noise_levels(20_000, torch.Generator().manual_seed(0))
    assert levels.min() >= 0
    assert levels.max() <= 1
    assert 0.55 < levels.mean() < 0.65
