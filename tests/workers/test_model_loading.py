"""Weights into pipelines."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from image_requests import an_image_request

from broker_config.messages import ImageRequest
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


@pytest.fixture
def model(tmp_path):
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_that_has_its_weights_as_one_variant_only_loads_and_draws_the_same(model):
    for file in model.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16{file.suffix}"))
    request = ImageRequest(**an_image_request(seed=7, num_inference_steps=2))
    drawn = [
        DiffusersEngine(PipelineOptions()).generate(request.model_copy(update={"model": name}), lambda step, of: None)
        for name in (str(model), "tiny")
    ]
    assert drawn[0].images[0].tobytes() == drawn[1].images[0].tobytes()


@pytest.mark.parametrize(
    ("component", "entry"),
    [("scheduler", ["diffusers", "NoSuchScheduler"]), ("scheduler", ["no_such_package", "Thing"])],
)
def test_a_component_that_nothing_here_can_load_is_a_model_that_is_missing(model, component, entry):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {component: entry}))
    with pytest.raises(ModelMissingError, match=entry[entry[0] == "diffusers"]):
        DiffusersEngine(PipelineOptions()).load(str(model))


def test_a_package_that_a_component_needs_is_named(model, monkeypatch):
    needs = "\nT5Tokenizer requires the SentencePiece library but it was not found in your environment.\n"

    def lacks(*_, **__):
        raise ImportError(needs)

    monkeypatch.setattr("workers.model_loading.AutoPipelineForText2Image.from_pretrained", lacks)
    with pytest.raises(ModelMissingError, match="T5Tokenizer requires the SentencePiece library"):
        DiffusersEngine(PipelineOptions()).load(str(model))


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
