"""Image clients as packages: LangChain, LiteLLM and webuiapi, each in a process of its own, as their users run them.

`openai` itself is in test_openai_images.py and test_handler.py. langchain-openai has no wrapper of the Images API.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gateway_server import serving

from planner.gateway.keys import KeyFile

LANGCHAIN = """
from langchain_community.tools.openai_dalle_image_generation import OpenAIDALLEImageGenerationTool
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

wrapper = DallEAPIWrapper(base_url=url + "/v1", api_key=key, model="dall-e-3", n=2, size="64x64", quality="hd")
tell(OpenAIDALLEImageGenerationTool(api_wrapper=wrapper).invoke("a red heart"))
"""

LITELLM = """
import asyncio
import io
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the internet for prices
import litellm
from PIL import Image

where = {"api_base": url + "/v1", "api_key": key}
drawn = litellm.image_generation("a red heart", model="openai/tiny", n=2, size="64x64", **where)
later = asyncio.run(litellm.aimage_generation(prompt="a red heart", model="openai/gpt-image-1", quality="low", **where))
# What its proxy sends on to a model that it has from Ladle.
proxied = litellm.image_generation("a red heart", model="litellm_proxy/other", user="ann", **where)
file = io.BytesIO()
Image.new("RGB", (64, 64)).save(file, "png")
file.name = "heart.png"
edited = litellm.image_edit(image=[file], prompt="a blue heart", model="openai/gpt-image-1", **where)
try:
    litellm.image_generation("a red heart", model="openai/tiny", size="huge", **where)
except litellm.BadRequestError as exc:
    refused = str(exc)
answers = (drawn, later, proxied, edited)
tell({"images": [[bool(image.b64_json) for image in answer.data] for answer in answers], "refused": refused})
"""

WEBUIAPI = """
import webuiapi

api = webuiapi.WebUIApi(baseurl=url + "/sdapi/v1", sampler="Euler a", steps=3)
api.set_auth("user", key)
drawn = api.txt2img(prompt="a red heart", negative_prompt="rain", width=128, height=64, seed=7, cfg_scale=5)
edited = api.img2img(images=[drawn.image], prompt="a blue heart", width=64, height=64, denoising_strength=0.4)
api.util_set_model("other")
api.util_wait_for_ready()
tell({
    "sizes": [answer.image.size for answer in (drawn, edited)],
    "seed": drawn.info["seed"],
    "models": api.util_get_model_names(),
    "samplers": api.util_get_sampler_names(),
    "loras": api.get_loras(),
    "progress": api.get_progress()["state"]["job_count"],
})
"""

HEAD = """
import json
import sys

url, key = sys.argv[1:]


def tell(answer):
    print("TOLD", json.dumps(answer))
"""


@pytest.fixture(scope="module")
def guarded(site, tmp_path_factory):
    """Return the URL of a gateway, and the key that it wants."""
    keys = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    key = keys.add("ann")
    with serving(site.settings, http_keys_file=str(keys.path)) as gateway:
        yield gateway.url, key


@pytest.fixture
def told_by(guarded):
    def run(script):
        done = subprocess.run(
            [sys.executable, "-c", HEAD + script, *guarded], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("TOLD "))
        return json.loads(line.removeprefix("TOLD "))

    return run


def test_langchain_gets_urls(told_by, guarded):
    urls = told_by(LANGCHAIN).splitlines()
    assert len(urls) == 2
    assert all(url.startswith(f"{guarded[0]}/images/http.ann.") for url in urls)


def test_litellm_draws_and_edits_and_hears_what_is_wrong(told_by):
    told = told_by(LITELLM)
    assert told["images"] == [[True, True], [True], [True], [True]]
    assert "size: 'huge'" in told["refused"]


def test_a_client_of_the_web_ui_draws_and_finds_its_choices(told_by):
    assert told_by(WEBUIAPI) == {
        "sizes": [[128, 64], [64, 64]],
        "seed": 7,
        "models": ["other", "tiny"],
        "samplers": ["Automatic"],
        "loras": [],
        "progress": 0,
    }
