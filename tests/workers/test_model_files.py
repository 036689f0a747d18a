"""What tells a model's files from those of another model."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from workers.model_files import fingerprint
from workers.model_source import TINY_FOLDER, find_model

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY_FOLDER, tmp_path / "model")


def of(folder):
    return fingerprint(find_model(str(folder)))


def change_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_copy_of_a_folder_is_the_same_model(folder):
    assert of(folder) == fingerprint(find_model("tiny"))
    assert len(of(folder)) == 64


def test_a_model_that_was_trained_on_is_another(folder):
    before = of(folder)
    weights = {name: tensor * 1.01 for name, tensor in load_file(folder / TRANSFORMER).items()}
    save_file(weights, folder / TRANSFORMER)
    assert of(folder) != before


def test_other_types_shapes_or_names_are_another_model(folder):
    seen = {of(folder)}
    weights = load_file(folder / TRANSFORMER)
    name = sorted(weights)[0]
    for changed in (
        {**weights, name: weights[name].astype("float32")},
        {**weights, name: weights[name].reshape(1, -1)},
        {**{key: value for key, value in weights.items() if key != name}, name + "x": weights[name]},
    ):
        save_file(changed, folder / TRANSFORMER)
        seen.add(of(folder))
    assert len(seen) == 4


def test_another_scheduler_or_network_config_is_another_model(folder):
    seen = {of(folder)}
    change_json(folder / "scheduler" / "scheduler_config.json", shift=7.0)
    seen.add(of(folder))
    change_json(folder / "transformer" / "config.json", num_layers=99)
    seen.add(of(folder))
    assert len(seen) == 3


def test_what_changes_when_a_model_is_saved_again_is_no_difference(folder):
    before = of(folder)
    change_json(folder / "transformer" / "config.json", _diffusers_version="99.0", _name_or_path="elsewhere")
    change_json(folder / "text_encoder" / "config.json", transformers_version="99.0", dtype="float32")
    weights = load_file(folder / TRANSFORMER)
    names = sorted(weights)
    half = len(names) // 2
    (folder / TRANSFORMER).unlink()
    for part, some in enumerate((names[half:], names[:half])):
        file = folder / "transformer" / f"diffusion_pytorch_model-0000{part}-of-00002.safetensors"
        save_file({name: weights[name] for name in some}, file, metadata={"saved": "again"})
    assert of(folder) == before


def test_a_variant_beside_the_weights_and_a_t5_encoder_are_no_difference(folder):
    before = of(folder)
    save_file({}, folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors")
    change_json(folder / "model_index.json", text_encoder_3=["transformers", "T5EncoderModel"])
    assert of(folder) == before


@pytest.mark.parametrize("content", [b"", b"torn", b"\xff" * 100, (2).to_bytes(8, "little") + b"[]"])
def test_files_that_cannot_be_read_are_not_known(folder, content, caplog):
    (folder / TRANSFORMER).write_bytes(content)
    assert of(folder) is None
    assert "is not known" in caplog.text


def test_a_model_of_the_hub_that_is_not_in_the_cache_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = find_model("tiny")
    object.__setattr__(source, "location", "some-owner/no-such-model")
    assert fingerprint(source) is None
