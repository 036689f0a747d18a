"""Attention with one zero token of weight n."""

from __future__ import annotations

import math

import torch

from workers.tiny_training import architecture
from workers.tiny_training.attention import WeightedJointAttention


def test_one_zero_token_of_weight_n_equals_n_zero_tokens():
    torch.manual_seed(0)
    transformer = architecture.transformer()
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.02)
    for block in transformer.transformer_blocks:
        torch.nn.init.normal_(block.norm1.linear.weight, std=0.02)
    noisy, pooled = torch.randn(2, 4, 16, 16), torch.randn(2, 128)
    words, zero = torch.randn(2, 20, 128), torch.zeros(2, 1, 128)
    level = torch.tensor([300.0, 700.0])
    with torch.no_grad():
        plain = transformer(noisy, torch.cat([words, zero.repeat(1, 256, 1)], 1), pooled, level, return_dict=False)[0]
        weighted = WeightedJointAttention()
        weighted.log_count = math.log(256)
        transformer.set_attn_processor(weighted)
        single = transformer(noisy, torch.cat([words, zero], 1), pooled, level, return_dict=False)[0]
    assert plain.std() > 0.01
    torch.testing.assert_close(single, plain, atol=1e-5, rtol=1e-4)
