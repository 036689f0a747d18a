"""Requests in the shape that other programs build, with where that was read. The values are smaller, the fields all."""

from __future__ import annotations

import base64
import io
import json
import urllib.request

import pytest
from PIL import Image

# Open WebUI 0.12.4 (PyPI: open-webui), open_webui/routers/images.py, image_generations.
OPEN_WEBUI = {"model": "tiny", "prompt": "a red heart", "n": 1, "size": "64x64", "response_format": "b64_json"}
# For a model that begins with gpt-image it asks for no form, and reads the URL, with its own headers.
OPEN_WEBUI_GPT_IMAGE = {"model": "gpt-image-1", "prompt": "a red heart", "n": 1, "size": "auto"}
# The same, image_edits; of one picture `image`, of a list `image[]`.
OPEN_WEBUI_EDIT = {"model": "tiny", "prompt": "a blue heart", "n": "1", "size": "64x64", "response_format": "b64_json"}
OPEN_WEBUI_A1111 = {
    "prompt": "a red heart",
    "batch_size": 1,
    "width": 64,
    "height": 64,
    "steps": 2,
    "negative_prompt": "rain",
}
# LibreChat, api/app/clients/tools/structured/OpenAIImageTools.js (danny-avila/LibreChat at 00b3bc3).
LIBRECHAT = {
    "model": "gpt-image-1",
    "prompt": "a red heart",
    "n": 1,
    "background": "auto",
    "output_format": "png",
    "quality": "auto",
    "size": "auto",
}
LIBRECHAT_EDIT = {"model": "gpt-image-1", "prompt": "a blue heart", "quality": "auto", "size": "auto"}
# LibreChat, api/app/clients/tools/structured/DALLE3.js, _call (danny-avila/LibreChat at 37d31ec).
LIBRECHAT_DALLE = {
    "model": "dall-e-3",
    "prompt": "a red heart",
    "quality": "standard",
    "style": "vivid",
    "size": "64x64",
    "n": 1,
}
# LibreChat, api/app/clients/tools/structured/StableDiffusion.js, _call (danny-avila/LibreChat at 00b3bc3).
LIBRECHAT_A1111 = {
    "prompt": "a red heart",
    "negative_prompt": "rain",
    "cfg_scale": 4.5,
    "steps": 2,
    "width": 64,
    "height": 64,
}
# SillyTavern 1.12.6 sends on what its page built, with url and auth: src/endpoints/stable-diffusion.js, /generate; the
# fields are those of generateAutoImage in public/scripts/extensions/stable-diffusion/index.js.
SILLYTAVERN = {
    "url": "http://localhost:8420",
    "auth": "user:secret",
    "prompt": "a red heart",
    "negative_prompt": "rain",
    "sampler_name": "Automatic",
    "scheduler": "automatic",
    "steps": 2,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "seed": 7,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
# The same version, generateDrawthingsImage; /drawthings/generate takes url and auth away.
SILLYTAVERN_DRAWTHINGS = {
    "prompt": "a red heart",
    "negative_prompt": "rain",
    "sampler_name": "Automatic",
    "steps": 2,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "restore_faces": False,
    "enable_hr": False,
    "denoising_strength": 0.7,
    "clip_skip": 1,
    "upscaler_scale": 2,
    "seed": 7,
}
# The same version, generateOpenAiImage.
SILLYTAVERN_OPENAI = {
    "model": "dall-e-3",
    "prompt": "a red heart",
    "size": "64x64",
    "n": 1,
    "quality": "standard",
    "style": "vivid",
    "response_format": "b64_json",
}


def size_of(b64):
    return Image.open(io.BytesIO(base64.b64decode(b64))).size


def test_open_webui_reads_the_images_it_asked_for_in_base64(gateway):
    (image,) = gateway.ask("/v1/images/generations", OPEN_WEBUI).json["data"]
    assert "url" not in image  # which it would prefer
    assert size_of(image["b64_json"]) == (64, 64)


def test_open_webui_fetches_the_url_from_where_it_sent_the_request(gateway):
    (image,) = gateway.ask("/v1/images/generations", OPEN_WEBUI_GPT_IMAGE).json["data"]
    assert image["url"].startswith(f"{gateway.url}/")
    request = urllib.request.Request(image["url"], headers={"Authorization": "Bearer none"})
    with urllib.request.urlopen(request) as fetched:
        assert fetched.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("name", "fields"), [("image", OPEN_WEBUI_EDIT), ("image[]", OPEN_WEBUI_EDIT), ("image[]", LIBRECHAT_EDIT)]
)
def test_an_edit_is_a_form_with_one_or_a_list_of_pictures(gateway, name, fields):
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "png")
    body = b"".join(
        f'--x\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    )
    head = f'--x\r\ncontent-disposition: form-data; name="{name}"; filename="a.png"\r\ncontent-type: image/png\r\n\r\n'
    body += head.encode() + out.getvalue() + b"\r\n--x--\r\n"
    answer = gateway.ask("/v1/images/edits", body, content_type="multipart/form-data; boundary=x")
    assert size_of(answer.json["data"][0]["b64_json"]) == (64, 64)


def test_librechat_reads_base64_without_asking_for_it(gateway):
    answer = gateway.ask("/v1/images/generations", LIBRECHAT)
    assert size_of(answer.json["data"][0]["b64_json"]) == (64, 64)


def test_librechat_fetches_a_url_where_it_asks_for_dall_e(gateway):
    (image,) = gateway.ask("/v1/images/generations", LIBRECHAT_DALLE).json["data"]
    with urllib.request.urlopen(image["url"]) as fetched:
        assert Image.open(io.BytesIO(fetched.read())).size == (64, 64)


def test_sillytavern_gets_base64_where_it_thinks_of_openai(gateway):
    answer = gateway.ask("/v1/images/generations", SILLYTAVERN_OPENAI)
    assert size_of(answer.json["data"][0]["b64_json"]) == (64, 64)


@pytest.mark.parametrize(
    "fields",
    [OPEN_WEBUI_A1111, LIBRECHAT_A1111, SILLYTAVERN, SILLYTAVERN_DRAWTHINGS],
    ids=["open-webui", "librechat", "sillytavern", "drawthings"],
)
def test_a_client_of_a1111_finds_images_and_info(gateway, fields):
    answer = gateway.ask("/sdapi/v1/txt2img", fields)
    assert [size_of(image) for image in answer.json["images"]] == [(64, 64)]
    info = json.loads(answer.json["info"])
    assert (info["height"], info["width"]) == (64, 64)
    assert f"Seed: {info['seed']}" in info["infotexts"][0].split("\n").pop()
    assert "secret" not in str(answer.headers)


def test_open_webui_chooses_a_model_by_sending_all_options_back(gateway):
    options = gateway.ask("/sdapi/v1/options").json
    assert gateway.ask("/sdapi/v1/options", {**options, "sd_model_checkpoint": "other"}).status == 200


def test_sillytavern_fills_its_menus_and_waits_until_nothing_is_loaded(gateway):
    told = gateway.ask("/sdapi/v1/progress").json
    assert (told["progress"], told["state"]["job_count"]) == (0.0, 0)
    for name in ("samplers", "schedulers", "upscalers", "latent-upscale-modes"):
        assert all(entry["name"] for entry in gateway.ask(f"/sdapi/v1/{name}").json)
    assert all(entry["model_name"] for entry in gateway.ask("/sdapi/v1/sd-vae").json)


def test_sillytavern_asks_draw_things_for_its_model_at_the_root(gateway):
    assert gateway.ask("/", method="HEAD").status == 200
    told = gateway.ask("/").json
    assert (told["model"], told["upscaler"]) == ("tiny", None)
