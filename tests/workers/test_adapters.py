"""Adapters in a pipeline: by name, anew when replaced, with weights; what does not fit is refused in one sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_requests import an_image_request
from safetensors.torch import load_file, save_file

from broker_config.messages import ImageRequest
from workers.adapter_files import AdapterFolder
from workers.adapters import MAX_LOADED, PipelineAdapters
from workers.errors import BadRequestError
from workers.model_options import PipelineOptions
from workers.pipelines import DiffusersEngine

OPTIONS = PipelineOptions()


def pixels(engine, **weights) -> np.ndarray:
    adapters = {name.replace("_", "."): weight for name, weight in weights.items()} or None
    request = ImageRequest(**an_image_request(num_inference_steps=2, seed=7, adapters=adapters))
    return np.asarray(engine.generate(request, lambda step, of: None).images[0]).astype(int)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two adapters for the tiny model, made on the spot: each changes the picture."""
    from diffusers import StableDiffusion3Pipeline
    from peft import LoraConfig, get_peft_model_state_dict

    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    for name in ("sketch", "oil"):
        engine = DiffusersEngine(OPTIONS)
        engine.load("tiny")
        network = engine._models["tiny"].pipeline.transformer
        network.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
        layers = get_peft_model_state_dict(network)
        StableDiffusion3Pipeline.save_lora_weights(
            folder, transformer_lora_layers=layers, weight_name=f"{name}.safetensors"
        )
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.fixture
def engine(folder):
    engine = DiffusersEngine(replace(OPTIONS, adapters_folder=str(folder)))
    engine.load("tiny")
    return engine


def test_a_replaced_file_is_loaded_anew(engine, folder):
    sketch, oil = pixels(engine, sketch=1.0), pixels(engine, oil=1.0)
    shutil.copy(folder / "oil.safetensors", folder / "sketch.safetensors")
    assert np.array_equal(pixels(engine, sketch=1.0), oil)
    assert not np.array_equal(sketch, oil)


def test_a_name_with_dots_works(engine, folder):
    before = pixels(engine, sketch=1.0)
    (folder / "sketch.safetensors").rename(folder / "v1.5-style.safetensors")
    request = an_image_request(num_inference_steps=2, seed=7, adapters={"v1.5-style": 1.0})
    after = engine.generate(ImageRequest(**request), lambda step, of: None).images[0]
    assert np.array_equal(np.asarray(after), before)


def test_several_adapters_are_added_by_their_weights(engine):
    plain, both = pixels(engine), pixels(engine, sketch=0.8, oil=0.5)
    assert np.array_equal(both, pixels(engine, oil=0.5, sketch=0.8))
    others = (plain, pixels(engine, sketch=0.8), pixels(engine, oil=0.5))
    assert not any(np.array_equal(both, other) for other in others)
    assert np.array_equal(pixels(engine, sketch=0.0), plain)
    assert np.array_equal(pixels(engine), plain)


def test_loading_takes_time_once_and_what_is_loaded_is_named(engine):
    assert engine.load_adapters("tiny", ["sketch"]) > 0
    assert engine.load_adapters("tiny", ["sketch"]) == 0.0
    assert engine.abilities().loaded_adapters == {"tiny": ("sketch",)}


def test_the_adapters_that_were_used_longest_ago_leave_memory(engine, folder):
    for index in range(MAX_LOADED + 1):
        shutil.copy(folder / "oil.safetensors", folder / f"{index}.safetensors")
        engine.load_adapters("tiny", [str(index)])
    assert engine.abilities().loaded_adapters["tiny"] == tuple(map(str, range(1, MAX_LOADED + 1)))
    assert np.array_equal(pixels(engine, **{"1": 1.0}), pixels(engine, oil=1.0))


def changed(folder, change):
    """The file of an adapter with other keys or shapes."""
    save_file(change(load_file(folder / "sketch.safetensors")), folder / "other.safetensors")


def renamed(old, new):
    return lambda weights: {key.replace(old, new, 1): value for key, value in weights.items()}


KOHYA = "lora_unet_joint_blocks_0_context_block_attn_qkv"
MISFITS = {
    "unet prefix": (
        renamed("transformer.", "unet."),
        r"its keys are those of a U-Net \(unet\..* takes keys that begin with",
    ),
    "no prefix": (renamed("transformer.", ""), "its keys are those of another format"),
    "kohya": (
        lambda weights: {f"{KOHYA}.lora_{part}.weight": torch.zeros(2, 2) for part in ("down", "up")},
        "its keys are those of kohya's format .* StableDiffusion3Pipeline takes keys that begin with transformer",
    ),
    "shapes": (
        lambda weights: {
            key: torch.zeros(2, 8) if "lora_A" in key else torch.zeros(8, 2) for key, value in weights.items()
        },
        r"to_q.lora_A has the shape \(2, 8\), and the model takes \(2, 128\)",
    ),
    "other layers": (renamed("_blocks.", "_blocks.9"), "the model has none of its layers, such as transformer"),
    "half of each pair": (
        lambda weights: {key: value for key, value in weights.items() if "lora_A" in key},
        "its keys are not as diffusers expects them",
    ),
    "no lora": (lambda weights: {"x": torch.zeros(2)}, "Invalid LoRA checkpoint"),
    "nothing": (lambda weights: {}, "it holds no weights"),
}


@pytest.mark.parametrize(("change", "said"), MISFITS.values(), ids=MISFITS)
def test_a_file_that_does_not_fit_is_a_bad_request_in_one_sentence_and_leaves_no_trace(engine, folder, change, said):
    plain = pixels(engine)
    changed(folder, change)
    for _ in range(2):
        with pytest.raises(BadRequestError, match=f"adapters: 'other' does not fit this model: .*{said}") as caught:
            pixels(engine, other=1.0)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    assert engine.abilities().loaded_adapters == {}
    assert np.array_equal(pixels(engine), plain)
    assert not np.array_equal(pixels(engine, oil=1.0), plain)


class Short:
    """A pipeline whose device has no memory left for an adapter."""

    _lora_loadable_modules = ()

    def __init__(self, error):
        self.error = error

    def get_list_adapters(self):
        return {}

    def load_lora_weights(self, *_, **__):
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate")])
def test_a_lack_of_memory_is_no_bad_request(folder, error):
    with pytest.raises(type(error)):
        PipelineAdapters(Short(error), AdapterFolder(str(folder))).load(["sketch"])


def test_a_pipeline_without_lora_refuses_an_adapter_and_needs_none(folder):
    adapters = PipelineAdapters(SimpleNamespace(), AdapterFolder(str(folder)))
    adapters.load([])
    adapters.switch_to({})
    with pytest.raises(BadRequestError, match="takes no LoRA adapters"):
        adapters.load(["sketch"])
