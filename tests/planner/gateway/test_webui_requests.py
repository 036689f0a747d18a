"""From a web UI's fields to an order's. Whole requests are in test_webui_routes.py."""

from __future__ import annotations

import base64

import pytest

from broker_config.errors import RequestRefusedError
from planner.gateway.problems import HttpProblem
from planner.gateway.webui_requests import plain_fields, starting_picture, unread


def test_fields_are_renamed_and_what_is_not_said_is_left_away():
    assert plain_fields({}) == {}
    assert plain_fields({"seed": -1, "denoising_strength": 0.7, "height": 96}) == {"size": "96x96"}
    assert plain_fields({"denoising_strength": 0.7, "seed": 0}, has_image=True) == {"strength": 0.7, "seed": 0}
    with pytest.raises(RequestRefusedError, match="batch_size: 'True'"):
        plain_fields({"batch_size": True})


def test_only_fields_that_say_something_are_warned_of():
    assert unread({"tiling": True, "eta": 0.5, "enable_hr": False, "styles": [], "steps": 4, "subseed": -1}) == [
        "eta means nothing to Ladle",
        "tiling means nothing to Ladle",
    ]
    settings = {"sd_model_checkpoint": "tiny", "sd_vae": None, "CLIP_stop_at_last_layers": 2}
    assert unread({"override_settings": settings}) == [
        "override_settings.CLIP_stop_at_last_layers means nothing to Ladle"
    ]


def test_a_model_that_is_left_empty_is_not_chosen():
    for settings in ({"sd_model_checkpoint": ""}, {"sd_model_checkpoint": None}, {}, None, "x"):
        assert plain_fields({"override_settings": settings}) == {}
    assert plain_fields({"override_settings": {"sd_model_checkpoint": "big"}}) == {"model": "big"}


def test_previews_are_asked_for_by_their_option_only():
    wanted = {"override_settings": {"live_previews_enable": True}}
    assert plain_fields(wanted) == {"partial_images": 3}
    assert unread(wanted) == []
    assert plain_fields({"override_settings": {"live_previews_enable": "x"}}) == {}


@pytest.mark.parametrize(
    ("prompt", "left", "adapters"),
    [
        ("a heart <lora:pixel:1>", "a heart", {"pixel": 1.0}),
        ("<lora:pixel> a heart", "a heart", {"pixel": 1.0}),
        ("a <lora:a:0.5><lora:b:1:1> heart", "a  heart", {"a": 0.5, "b": 1.0}),
        ("a <lora:> heart, 2 < 3 <3>", "a <lora:> heart, 2 < 3 <3>", None),
    ],
)
def test_adapters_are_named_in_the_prompt(prompt, left, adapters):
    fields = plain_fields({"prompt": prompt})
    assert (fields["prompt"], fields.get("adapters")) == (left, adapters)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(RequestRefusedError, match="'much' is no weight of lora a"):
        plain_fields({"prompt": "<lora:a:much>"})


def test_one_picture_in_base64_is_taken():
    picture = base64.b64encode(b"PNG").decode()
    for text in (picture, f"data:image/png;base64,{picture}"):
        assert starting_picture({"init_images": [text], "mask": None}) == b"PNG"


@pytest.mark.parametrize("images", [None, "QUJD", [], ["QUJD", "QUJD"], [b"x"], [7], ["?"], ["ü"], ["\ud800"]])
def test_anything_else_is_refused(images):
    with pytest.raises(RequestRefusedError, match="init_images"):
        starting_picture({"init_images": images})


def test_a_mask_is_said_to_be_missing():
    with pytest.raises(HttpProblem) as refused:
        starting_picture({"init_images": ["QUJD"], "mask": "QUJD"})
    assert refused.value.status == 501
