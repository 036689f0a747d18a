from __future__ import annotations

import json
import math

import pytest
import torch

from workers.model_source import find_model
from workers.tiny_training import architecture, flow, vae
from workers.tiny_training.attention import WeightedJointAttention
from workers.tiny_training.train import main


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def test_noise_levels_lie_between_0_and_1_and_lean_towards_noise():
    levels = flow.noise_levels(20_000, torch.Generator().manual_seed(0))
    assert levels.min() >= 0
    assert levels.max() <= 1
    assert 0.55 < levels.mean() < 0.65


def test_the_whole_model_has_under_4_million_parameters():
    parts = [architecture.autoencoder(), architecture.transformer(), *(architecture.text_encoder() for _ in range(2))]
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) < 4_000_000


def test_an_autoencoder_step_is_the_same_from_the_same_seed():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(vae.VaeTraining(architecture.autoencoder(), 10, seed=3).advance())
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers' and transformers' own, while they save a pipeline
def test_a_quick_training_can_be_stopped_and_gives_a_model_that_loads(tmp_path, capsys):
    """About 20 s: the whole way of the full training, with few steps of each stage."""
    folder, work = tmp_path / "model", tmp_path / "work"
    main([str(folder), "--work", str(work), "--quick"])
    first = json.loads(capsys.readouterr().out)
    assert first["flow_loss"] < 2.1
    assert find_model(str(folder)).facts.sizes_px == (64, 96)

    # A second run finds every stage finished, and exports the same weights.
    again = tmp_path / "again"
    main([str(again), "--work", str(work), "--quick"])
    for file in folder.rglob("*.safetensors"):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes()
