"""Where a model comes from, and what is refused before it is read."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from workers.errors import (
    ModelMissingError,
)
from workers.model_source import find_model


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ModelMissingError, match=r"has no model_index\.json"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("file", ["model_index.json", "ladle.json"])
def test_a_broken_file_in_a_model_folder_is_named(tmp_path, file):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / file).write_text("{torn")
    with pytest.raises(ModelMissingError, match=f"{file} cannot be read"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("name", ["/nonexistent", "./heart", "../heart", "~/models/heart", "a/b/c", "heart/"])
def test_a_folder_that_is_not_there_is_no_question_for_the_hub(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelMissingError, match=r"there is no such folder on this machine \(looked at /") as missing:
        find_model(name)
    assert "hub" not in str(missing.value)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "heart.safetensors").touch()
    with pytest.raises(ModelMissingError, match="this is a file, and a model is a folder"):
        find_model(str(tmp_path / "heart.safetensors"))


def test_why_the_hub_gives_no_model_is_said_in_its_own_words(monkeypatch):
    def is_gated(*_, **__):
        said = "401 Client Error.\n\nAccess to model some/model is restricted.\nPlease log in."
        raise GatedRepoError(said, response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr("diffusers.configuration_utils.hf_hub_download", is_gated)
    monkeypatch.setattr("workers.model_source.getproxies", lambda: {"https": "http://proxy"})
    with pytest.raises(ModelMissingError, match=r"Access to model some/model is restricted\. Please log in\."):
        find_model("some/model")


def test_a_hub_that_does_not_answer_is_named_and_its_client_is_asked_for_what_it_has(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # closed again: nobody listens there
    asked = []

    def is_not_cached(*_, **options):
        asked.append(options["local_files_only"])
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("diffusers.configuration_utils.hf_hub_download", is_not_cached)
    monkeypatch.setattr("workers.model_source.getproxies", dict)
    with pytest.raises(ModelMissingError, match=r"does not answer \(.*refused\): check the name"):
        find_model("some/model")
    monkeypatch.setattr("workers.model_source.getproxies", lambda: {"http": "http://proxy"})
    with pytest.raises(ModelMissingError, match="the hub says"):
        find_model("some/model")
    assert asked == [True, False]


def test_the_shipped_model_is_found_by_its_short_name_with_what_it_knows():
    source = find_model("tiny")
    assert source.pipeline_class == "StableDiffusion3Pipeline"
    assert not source.has_t5
    assert source.facts.sizes_px == (64, 96)
    assert "zeppelin" not in source.facts.words


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ('{"words": 5}', "words"),
        ('{"sizes_px": "big"}', "sizes_px"),
        ('{"sizes_px": []}', "sizes_px"),
        ('{"sizes_px": [-64]}', "sizes_px"),
        ('{"max_sequence_length": "long"}', "max_sequence_length"),
    ],
)
def test_an_odd_ladle_json_is_one_sentence_that_names_file_and_field(tmp_path, facts, field):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "ladle.json").write_text(facts)
    with pytest.raises(ModelMissingError, match=rf"ladle\.json: {field}"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        (["unet/diffusion_pytorch_model.safetensors"], None),
        (["unet/diffusion_pytorch_model.fp16.safetensors"], "fp16"),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.safetensors"], None),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors"], "fp16"),
        (["unet/diffusion_pytorch_model-00001-of-00002.safetensors"], None),
        (["unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors"], "fp16"),
        (["text_encoder/model.bf16.safetensors"], "bf16"),
    ],
)
def test_weights_that_were_saved_as_one_variant_only_are_known(tmp_path, files, variant):
    (tmp_path / "model_index.json").write_text("{}")
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert find_model(str(tmp_path)).variant == variant
