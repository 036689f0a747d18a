"""AUTOMATIC1111's surface, with requests in the shape that its clients send."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json

import pytest
from ladle_site import wait_until
from PIL import Image

# Fields as the web UI's API documents them, as many as a client of it usually sends.
TYPICAL = {
    "prompt": "a red heart",
    "negative_prompt": "rain",
    "sampler_name": "Euler a",
    "scheduler": "karras",
    "steps": 3,
    "cfg_scale": 5,
    "width": 128,
    "height": 64,
    "seed": -1,
    "batch_size": 1,
    "restore_faces": False,
    "enable_hr": False,
    "denoising_strength": 0.7,
    "override_settings": {"sd_model_checkpoint": "other"},
    "send_images": True,
}


def pictures(answer):
    return [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer.json["images"]]


def test_a_typical_request_is_drawn(gateway, site):
    answer = gateway.ask("/sdapi/v1/txt2img", TYPICAL)
    assert [image.size for image in pictures(answer)] == [(128, 64)]
    info = json.loads(answer.json["info"])
    assert (info["width"], info["height"], info["sd_model_name"]) == (128, 64, "other")
    assert info["infotexts"] == [
        "a red heart\nNegative prompt: rain\n"
        f"Steps: 3, Sampler: emulated, CFG scale: 5, Seed: {info['seed']}, Size: 128x64, Model: other"
    ]
    assert "sampler_name means nothing to Ladle" in answer.headers["x-ladle-warnings"]
    request = site.rows(info["job"])[0]["request"]
    assert (request["num_inference_steps"], request["guidance_scale"], request["negative_prompt"]) == (3, 5.0, "rain")


def test_several_images_have_seeds_that_follow(gateway):
    answer = gateway.ask("/sdapi/v1/txt2img", {"prompt": "x", "n_iter": 2, "batch_size": 2, "seed": 9})
    assert len(pictures(answer)) == 4
    assert json.loads(answer.json["info"])["all_seeds"] == [9, 10, 11, 12]


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_a_picture_to_start_from_is_base64(gateway, site, head):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "png")
    init = head + base64.b64encode(out.getvalue()).decode()
    answer = gateway.ask("/sdapi/v1/img2img", {"prompt": "x", "init_images": [init], "denoising_strength": 0.25})
    assert answer.status == 200
    request = site.rows(json.loads(answer.json["info"])["job"])[0]["request"]
    assert request["strength"] == 0.25


@pytest.mark.parametrize(
    ("path", "fields", "status", "param"),
    [
        ("img2img", {"prompt": "x"}, 422, "init_images"),
        ("img2img", {"prompt": "x", "init_images": ["a", "b"]}, 422, "init_images"),
        ("img2img", {"prompt": "x", "init_images": ["/etc/passwd"]}, 422, "init_images"),
        ("img2img", {"prompt": "x", "init_images": ["ü"]}, 422, "init_images"),
        ("img2img", {"prompt": "x", "init_images": [""], "mask": "x"}, 501, "mask"),
        ("txt2img", {"prompt": "x", "width": "wide"}, 422, "width"),
        ("txt2img", {"prompt": "x", "n_iter": 0}, 422, "n_iter"),
        ("txt2img", {"prompt": "x", "steps": 10_000}, 422, "num_inference_steps"),
        ("txt2img", {"prompt": "x", "override_settings": {"sd_model_checkpoint": "/x"}}, 404, "model"),
        ("txt2img", {"prompt": "<lora:a:11> x"}, 422, "adapters"),
        ("txt2img", {"prompt": "<lora:a:much> x"}, 422, "adapters"),
        ("txt2img", {"prompt": ["x"]}, 422, "prompt"),
        ("txt2img", {}, 422, "prompt"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_field(gateway, path, fields, status, param):
    answer = gateway.ask(f"/sdapi/v1/{path}", fields)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_the_models_have_both_names(gateway):
    assert [(model["title"], model["model_name"]) for model in gateway.ask("/sdapi/v1/sd-models").json] == [
        ("tiny", "tiny"),
        ("other", "other"),
    ]


def test_options_are_told_and_not_kept(gateway):
    assert gateway.ask("/sdapi/v1/options").json["sd_model_checkpoint"] == "tiny"
    kept = gateway.ask("/sdapi/v1/options", {"sd_model_checkpoint": "other"})
    assert kept.status == 200
    assert "not kept" in kept.headers["x-ladle-warnings"]
    assert gateway.ask("/sdapi/v1/options").json["sd_model_checkpoint"] == "tiny"
    assert gateway.ask("/sdapi/v1/options", {"sd_model_checkpoint": "/x"}).status == 404


def test_the_lists_that_clients_ask_for_are_there(gateway):
    names = ["samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-vae", "loras"]
    assert all(isinstance(gateway.ask(f"/sdapi/v1/{name}").json, list) for name in names)
    assert gateway.ask("/sdapi/v1/refresh-checkpoints", {}).status == 200


def test_a_lora_in_the_prompt_is_an_adapter(gateway, site):
    answer = gateway.ask("/sdapi/v1/txt2img", {"prompt": "a heart <lora:pixel:0.8>"})
    request = site.rows(json.loads(answer.json["info"])["job"])[0]["request"]
    assert request["prompt"] == "a heart"
    assert request["adapters"] == {"pixel": 0.8}


def test_who_asks_for_the_root_as_of_draw_things_hears_the_model(gateway):
    told = gateway.ask("/").json
    assert (told["status"], told["model"], told["upscaler"]) == ("ok", "tiny", None)
    head = gateway.ask("/", method="HEAD")
    assert (head.status, head.body) == (200, b"")


def test_progress_is_told_and_an_interrupt_ends_it(gateway):
    assert gateway.ask("/sdapi/v1/progress").json["state"]["job_count"] == 0
    fields = {"prompt": "x", "width": 512, "height": 512, "steps": 400}
    fields["override_settings"] = {"live_previews_enable": True}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(gateway.ask, "/sdapi/v1/txt2img", fields)
        wait_until(lambda: gateway.ask("/sdapi/v1/progress").json["progress"] > 0, "progress")
        told = gateway.ask("/sdapi/v1/progress").json
        assert told["state"]["job_count"] == 1
        assert told["eta_relative"] > 0
        wait_until(lambda: gateway.ask("/sdapi/v1/progress").json["current_image"], "a preview")
        assert 0 < told["state"]["sampling_step"] < told["state"]["sampling_steps"] == 400
        assert gateway.ask("/sdapi/v1/interrupt", {}).status == 200
        assert drawing.result().status == 409
    assert gateway.ask("/sdapi/v1/progress").json["state"]["job_count"] == 0
