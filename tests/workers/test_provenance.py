"""What images say about themselves, read back with Pillow and taken apart as A1111's web UI does."""

from __future__ import annotations

import io
import json
import re

import pytest
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from image_requests import an_image_request
from PIL import Image

from broker_config.messages import ImageRequest
from workers.provenance import infotext, png_of, sampler_of

PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')  # as in A1111's infotext_utils
PICTURE = Image.new("RGB", (8, 8), (1, 2, 3))


def text_of(**fields):
    return infotext(ImageRequest(**an_image_request(**fields)), 7, "Euler")


def test_the_text_has_the_prompts_and_a_line_of_settings():
    text = text_of(prompt="a red heart", negative_prompt="rain", num_inference_steps=20, guidance_scale=7, model="tiny")
    assert text == (
        "a red heart\nNegative prompt: rain\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 7, Size: 64x64, Model: tiny"
    )


def test_without_a_negative_prompt_there_is_no_line_of_it():
    assert text_of(prompt="a\nb").splitlines()[:3] == ["a", "b", text_of().splitlines()[-1]]


def test_strength_is_named_where_there_is_a_picture_to_start_from():
    assert text_of(image="AAAA", strength=0.55).endswith("Model: tiny, Denoising strength: 0.55")
    assert text_of(image="AAAA").endswith("Denoising strength: 0.6")


def test_adapters_stand_in_the_prompt_with_their_weights():
    text = text_of(prompt="a red heart", adapters={"oil": 0.5, "sketch": 1.0})
    assert text.splitlines()[0] == "a red heart <lora:oil:0.5> <lora:sketch:1>"


@pytest.mark.parametrize("model", ["stabilityai/stable-diffusion-3", 'odd, name: "x"', "C:/models/sd"])
def test_a1111_reads_every_setting_whatever_is_in_the_names(model):
    found = dict(PARAMETER.findall(text_of(model=model).splitlines()[-1]))
    assert {name: found[name] for name in ("Steps", "Seed", "Size")} == {"Steps": "8", "Seed": "7", "Size": "64x64"}
    said = found["Model"]
    assert (json.loads(said) if said.startswith('"') else said) == model


def test_samplers_have_the_names_of_a1111_and_others_that_of_their_class():
    class OddScheduler:
        """None that A1111 knows."""

    assert sampler_of(FlowMatchEulerDiscreteScheduler()) == "Euler"
    assert sampler_of(DPMSolverMultistepScheduler()) == "DPM++ 2M"
    assert sampler_of(OddScheduler()) == "Odd"
    assert sampler_of(None) == ""


@pytest.mark.parametrize("text", ["a red heart\nSteps: 8", "Zwölf Boxkämpfer", "心 ✓ \U0001f3a8", "x" * 100_000])
def test_pillow_reads_the_text_back_and_the_picture_is_as_without_it(text):
    with Image.open(io.BytesIO(png_of(PICTURE, text))) as image:
        assert image.text == {"parameters": text}
        assert image.tobytes() == PICTURE.tobytes()


def test_the_same_text_gives_the_same_bytes_and_none_those_of_a_plain_png():
    assert png_of(PICTURE, "x") == png_of(PICTURE, "x")
    plain = io.BytesIO()
    PICTURE.save(plain, "PNG")
    assert png_of(PICTURE, "") == plain.getvalue()
