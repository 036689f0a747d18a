from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_requests import an_image_request
from PIL import Image
from safetensors.torch import load_file, save_file

from broker_config.messages import ImageRequest
from workers.errors import (
    AdapterMissingError,
    BadRequestError,
    DoesNotFitError,
    ModelMissingError,
    SpoiltImageError,
    UnsafeWeightsError,
)
from workers.model_options import PipelineOptions
from workers.model_source import TINY_FOLDER
from workers.pipelines import DiffusersEngine

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = PipelineOptions()


def a_request(**changes) -> ImageRequest:
    fields = {"prompt": "a red circle on a blue background", "num_inference_steps": 2, "seed": 7}
    return ImageRequest(**an_image_request(**fields | changes))


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(engine: DiffusersEngine, **changes) -> np.ndarray:
    return np.stack(
        [np.asarray(image) for image in engine.generate(a_request(**changes), lambda step, of: None).images]
    )


@pytest.fixture(scope="module")
def engine():
    return DiffusersEngine(OPTIONS)


def test_what_tells_a_model_from_another_is_known_of_those_that_were_loaded(tmp_path):
    engine = DiffusersEngine(OPTIONS)
    assert engine.model_files == {}
    for model in ("tiny", str(shutil.copytree(TINY_FOLDER, tmp_path / "copy"))):
        engine.load(model)
    assert engine.resident == (model,)
    assert engine.model_files["tiny"] == engine.model_files[model]


def test_importing_the_package_and_its_pipelines_loads_neither_torch_nor_diffusers():
    code = "import sys, workers, workers.pipelines, workers.memory; print({'torch', 'diffusers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_second_load_takes_no_time_and_keeps_the_model_resident(engine):
    engine.load("tiny")
    assert engine.load("tiny") == 0.0
    assert engine.resident == ("tiny",)


def test_an_engine_that_was_unloaded_holds_no_weights_and_draws_the_same_again():
    engine = DiffusersEngine(OPTIONS)
    before = pixels(engine)
    weights = weakref.ref(engine._models["tiny"].pipeline.transformer)
    engine.unload()
    assert (engine.resident, weights()) == ((), None)
    assert engine.load("tiny") > 0.0
    assert np.array_equal(before, pixels(engine))


def test_the_shipped_folder_loads_by_the_plain_diffusers_call():
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(
        TINY_FOLDER, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    image = pipeline("a red circle", width=64, height=64, num_inference_steps=1, output_type="np").images[0]
    assert image.shape == (64, 64, 3)


def test_the_shipped_weights_are_at_most_8_mb_of_half_floats():
    from safetensors import safe_open

    assert sum(file.stat().st_size for file in TINY_FOLDER.rglob("*")) <= 8_000_000
    for file in TINY_FOLDER.rglob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            assert all(weights.get_tensor(key).dtype == torch.float16 for key in weights.keys())


def test_the_same_request_gives_bit_equal_images_also_after_loading_again(engine):
    first = pixels(engine, n=2)
    assert np.array_equal(first, pixels(engine, n=2))
    assert np.array_equal(first, pixels(DiffusersEngine(OPTIONS), n=2))


def test_image_i_of_a_request_has_the_seed_plus_i(engine):
    result = engine.generate(a_request(n=3), lambda step, of: None)
    assert result.seeds == [7, 8, 9]
    alone = pixels(engine, seed=9)[0].astype(int)
    assert np.abs(np.asarray(result.images[2]).astype(int) - alone).max() <= 1


def test_every_image_step_is_reported_once_in_order(engine):
    steps: list[tuple[int, int]] = []
    engine.generate(a_request(num_inference_steps=3, n=2), lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("strength", "run"), [(0.6, 5), (0.25, 2), (0.3, 3), (1.0, 8), (None, 5)])
def test_of_a_picture_to_start_from_those_image_steps_are_counted_that_run(engine, strength, run):
    steps: list[tuple[int, int]] = []
    request = a_request(num_inference_steps=8, image=png(Image.new("RGB", (8, 8))), strength=strength)
    engine.generate(request, lambda *step: steps.append(step))
    assert steps == [(step, run) for step in range(1, run + 1)]
    assert request.image_steps_run == run


def test_an_error_raised_between_steps_reaches_the_caller_and_the_engine_still_works(engine):
    class Stopped(Exception):
        pass

    def stop(step: int, of: int) -> None:
        raise Stopped

    before = pixels(engine)
    with pytest.raises(Stopped):
        engine.generate(a_request(), stop)
    assert np.array_equal(before, pixels(engine))


def test_unknown_words_are_named_in_a_warning(engine):
    result = engine.generate(a_request(prompt="A red zeppelin, on a blue background!"), lambda step, of: None)
    assert len(result.warnings) == 1
    assert "zeppelin;" in result.warnings[0]
    assert engine.generate(a_request(), lambda step, of: None).warnings == []


def test_what_the_tokenizer_cuts_off_and_a_negative_prompt_without_effect_are_named_in_warnings(engine):
    long = (
        "a red circle and a blue square and a green star and a yellow triangle and a white cross on a black background"
    )
    cut, unused = engine.generate(
        a_request(prompt=long, negative_prompt="a tree", guidance_scale=1.0), lambda step, of: None
    ).warnings
    assert (
        cut == "prompt: is 25 tokens long and a text encoder takes 20; it does not see: 'cross on a black background'"
    )
    assert unused == "negative_prompt: changes nothing at guidance_scale 1; it needs one above 1"


@pytest.mark.parametrize(("width", "height"), [(96, 96), (64, 96)])
def test_both_sizes_of_the_tiny_model_and_their_mixture_are_made(engine, width, height):
    assert pixels(engine, width_px=width, height_px=height).shape == (1, height, width, 3)


def test_another_size_is_refused_with_the_sizes_that_work(engine):
    with pytest.raises(BadRequestError, match="256x64 is not a size of 'tiny': each side must be 64 or 96 pixels"):
        engine.generate(a_request(width_px=256), lambda step, of: None)


def test_an_image_to_start_from_shows_through_the_more_the_lower_the_strength(engine):
    start = Image.new("RGB", (32, 32), (20, 200, 30))
    distances = []
    for strength in (0.25, 1.0):
        made = pixels(engine, num_inference_steps=8, image=png(start), strength=strength)
        assert made.shape == (1, 64, 64, 3)
        distances.append(np.abs(made.astype(int) - (20, 200, 30)).mean())
    assert distances[0] < distances[1]


def test_an_image_that_is_none_is_refused(engine):
    for text in ("not base64!", base64.b64encode(b"neither").decode()):
        with pytest.raises(BadRequestError, match="image: is no PNG, JPEG or WebP"):
            engine.generate(a_request(image=text, strength=0.5), lambda step, of: None)


def test_a_strength_that_leaves_no_image_step_is_refused(engine):
    with pytest.raises(BadRequestError, match="strength"):
        engine.generate(a_request(image=png(Image.new("RGB", (8, 8))), strength=0.2), lambda step, of: None)


@pytest.fixture
def adapters(tmp_path):
    """A folder with one adapter, made on the spot, that changes the picture."""
    from diffusers import StableDiffusion3Pipeline
    from peft import LoraConfig, get_peft_model_state_dict

    transformer = DiffusersEngine(OPTIONS)
    transformer.load("tiny")
    network = transformer._models["tiny"].pipeline.transformer
    network.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    StableDiffusion3Pipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=get_peft_model_state_dict(network), weight_name="sketch.safetensors"
    )
    return tmp_path


def test_an_adapter_changes_the_picture_and_leaves_no_trace(adapters):
    engine = DiffusersEngine(replace(OPTIONS, adapters_folder=str(adapters)))
    plain = pixels(engine)
    adapted = pixels(engine, adapters={"sketch": 1.0})
    assert not np.array_equal(plain, adapted)
    assert np.array_equal(plain, pixels(engine))
    assert np.array_equal(adapted, pixels(engine, adapters={"sketch": 1.0}))


def test_an_unknown_adapter_and_a_path_are_refused_with_the_names_there_are(adapters):
    engine = DiffusersEngine(replace(OPTIONS, adapters_folder=str(adapters)))
    for name in ("watercolour", "../adapters/sketch"):
        with pytest.raises(AdapterMissingError, match="it has: sketch"):
            engine.generate(a_request(adapters={name: 1.0}), lambda step, of: None)


def test_a_broken_adapter_is_refused(tmp_path, engine):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the sort")
    with pytest.raises(BadRequestError, match="'broken' does not fit this model"):
        DiffusersEngine(replace(OPTIONS, adapters_folder=str(tmp_path))).generate(
            a_request(adapters={"broken": 1.0}), lambda step, of: None
        )


def test_the_least_recently_used_model_is_evicted(tmp_path, engine):
    names = [str(tmp_path / name) for name in ("one", "two")]
    for name in names:
        shutil.copytree(TINY_FOLDER, name)
    keeper = DiffusersEngine(replace(OPTIONS, resident_models=2))
    keeper.load(names[0])
    keeper.load(names[1])
    keeper.load(names[0])
    assert keeper.load("tiny") > 0
    assert keeper.resident == (names[0], "tiny")


@pytest.mark.parametrize(
    "file",
    ["unet/diffusion_pytorch_model.bin", "model.ckpt", "a/b.pt", "weights.pkl", "vae/diffusion_pytorch_model.BIN"],
)
def test_a_folder_with_pickle_weights_is_refused(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UnsafeWeightsError, match=r"holds pickle weights .* convert them to safetensors"):
        DiffusersEngine(OPTIONS).load(str(tmp_path))


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")  # diffusers calls the hub that way
def test_a_model_of_the_hub_that_cannot_be_reached_is_missing(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelMissingError, match="nobody/no-such-model"):
        DiffusersEngine(OPTIONS).load("nobody/no-such-model")


def test_a_model_that_does_not_fit_is_refused_before_it_is_read():
    with pytest.raises(DoesNotFitError, match="this node has 100 MiB"):
        DiffusersEngine(replace(OPTIONS, memory_limit_mib=100)).load("tiny")


@pytest.mark.parametrize("option", ["layerwise_fp8", "group_offload", "vae_tiling"])
def test_every_memory_saving_option_gives_nearly_the_same_picture(engine, option):
    saving = DiffusersEngine(replace(OPTIONS, **{option: True}))
    assert np.abs(pixels(saving).astype(int) - pixels(engine).astype(int)).mean() < 12


def test_what_the_engine_gives_is_to_the_bit_what_diffusers_gives(engine):
    pipeline = engine._models["tiny"].pipeline
    facts = engine._models["tiny"].source.facts
    request = a_request()
    own = pipeline(
        request.prompt,
        width=request.width_px,
        height=request.height_px,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        max_sequence_length=facts.max_sequence_length,
    ).images[0]
    assert engine.generate(request, lambda step, of: None).images[0].tobytes() == own.tobytes()


@pytest.mark.fault(49, "B")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["vae/decoder.conv_in.weight", "transformer/proj_out.weight"])
def test_values_that_are_no_colours_are_a_failure_and_no_black_image(tmp_path, where, value):
    component, name = where.split("/")
    folder = tmp_path / "spoilt"
    shutil.copytree(TINY_FOLDER, folder)
    file = folder / component / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights[name].view(-1)[0] = value
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(SpoiltImageError, match="LADLE_DTYPE=bfloat16"):
        DiffusersEngine(OPTIONS).generate(a_request(model=str(folder)), lambda step, of: None)


@pytest.mark.parametrize("seeds", [(7, 8), (0, 2**32 - 1), (2**31, 2**31 + 1)])
def test_every_seed_that_is_taken_counts_as_a_whole(engine, seeds):
    one, other = (pixels(engine, seed=seed) for seed in seeds)
    assert not np.array_equal(one, other)
