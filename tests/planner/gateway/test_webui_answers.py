"""What a web UI would answer. Whole answers are in test_webui_routes.py."""

from __future__ import annotations

import base64
import hashlib
import io
import json

from PIL import Image

from broker_config.messages import Delays, Event, EventKind, StoredImage
from planner.client.result import Result, ResultImage
from planner.gateway.keys import Owner
from planner.gateway.orders import order_of
from planner.gateway.webui_answers import CHOICES, drawn, loras, progress, sd_model


def result_of_seeds(*seeds):
    out = io.BytesIO()
    Image.new("RGB", (24, 16)).save(out, "png")
    data, digest = base64.b64encode(out.getvalue()).decode(), hashlib.sha256(out.getvalue()).hexdigest()
    stored = [StoredImage(seed=seed, data=data, sha256=digest) for seed in seeds]
    return Result(
        job="j",
        images=tuple(ResultImage(seed=image.seed, stored=image) for image in stored),
        node="a",
        model="tiny",
        attempts=1,
        placer="p",
        policy_version=None,
        delays=Delays(transfer_in_s=0, waiting_s=0, load_s=0, generation_s=1, transfer_out_s=0),
        warnings=(),
    )


def info_of(fields, *seeds):
    result = result_of_seeds(*seeds)
    order = order_of({"prompt": "x", **fields}, Owner(name="ann"), ("tiny",), {})
    return json.loads(drawn(result, order, [b"PNG"] * len(seeds))["info"])


def test_info_says_what_was_drawn():
    info = info_of({"negative_prompt": "rain", "num_inference_steps": 9, "guidance_scale": 3.5}, 7, 8)
    assert (info["seed"], info["all_seeds"], info["width"], info["height"]) == (7, [7, 8], 24, 16)
    assert info["all_prompts"] == ["x", "x"]
    assert info["infotexts"][1] == (
        "x\nNegative prompt: rain\nSteps: 9, Sampler: Automatic, CFG scale: 3.5, Seed: 8, Size: 24x16, Model: tiny"
    )


def test_what_was_left_unsaid_is_not_made_up():
    assert info_of({}, 7)["infotexts"] == ["x\nSampler: Automatic, Seed: 7, Size: 24x16, Model: tiny"]


class Waiting:
    """As `Watch`."""

    job = "http.ann.1"

    def __init__(self, last=None, preview=None):
        self.last, self.preview = last, preview

    def eta_s(self):
        return 12.5


def test_progress_is_that_of_the_oldest_request():
    step = Event(job="http.ann.1", kind=EventKind.STEP, step=3, image_steps=12)
    told = progress([Waiting(step), Waiting()])
    assert (told["progress"], told["eta_relative"], told["state"]["job_count"]) == (0.25, 12.5, 2)
    assert (told["state"]["sampling_step"], told["state"]["sampling_steps"]) == (3, 12)


def test_without_requests_or_before_the_first_step_there_is_no_progress():
    idle = progress([])
    assert (idle["progress"], idle["eta_relative"], idle["state"]["job_count"]) == (0.0, 0.0, 0)
    waiting = progress([Waiting()])
    assert (waiting["progress"], waiting["state"]["job_count"]) == (0.0, 1)


def test_what_can_be_chosen_has_the_names_that_clients_read():
    for name in ("samplers", "schedulers", "upscalers"):
        assert all(choice["name"] for choice in CHOICES[name])
    assert [lora["name"] for lora in loras(["pixel", "ink", "pixel"])] == ["ink", "pixel"]
    assert (sd_model("tiny")["title"], sd_model("tiny")["model_name"]) == ("tiny", "tiny")
