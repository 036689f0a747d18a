"""Weights into pipelines."""

from __future__ import annotations

import shutil

import pytest
import torch

from workers.errors import (
    ModelMissingError,
)
from workers.model_loading import resolve_dtype, tile
from workers.model_options import PipelineOptions
from workers.model_source import TINY_FOLDER
from workers.pipelines import DiffusersEngine
from workers.tiny_training import architecture


@pytest.mark.fault(32, "B")
def test_a_model_with_a_broken_weights_file_is_missing_not_a_crash(tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(TINY_FOLDER, folder)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelMissingError):
        DiffusersEngine(PipelineOptions()).load(str(folder))


def test_half_floats_are_for_devices_that_compute_in_them():
    assert resolve_dtype("auto", "cpu") == torch.float32
    assert resolve_dtype("auto", "cuda:0") == torch.float16
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16


def test_tiles_are_half_of_what_the_autoencoder_was_trained_at():
    vae = architecture.autoencoder()
    before = vae.tile_sample_min_size, vae.tile_latent_min_size
    tile(vae)
    assert vae.use_tiling
    assert (2 * vae.tile_sample_min_size, 2 * vae.tile_latent_min_size) == before
