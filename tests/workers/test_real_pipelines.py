"""Stable Diffusion 1.5, SDXL, SD3 and FLUX through the worker: an assignment in, an outcome with pictures out."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_requests import an_image_request
from PIL import Image
from prometheus_client import CollectorRegistry
from safetensors.torch import save_file
from tiny_pipelines import MAKERS, make

from broker_config.memory_publisher import MemoryPublisher
from broker_config.messages import Assignment, ImageRequest
from broker_config.settings import Settings
from workers.done_ledger import DoneLedger
from workers.image_store import ImageStore
from workers.metrics import WorkerCounts
from workers.model_options import PipelineOptions
from workers.node import NodeWorker
from workers.pipelines import DiffusersEngine
from workers.warm_up import warm_up

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # diffusers' Euler scheduler makes arrays of tensors in a way that numpy will end
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

CLASSES = {
    "sd15": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}
ATTENTION = "down_blocks_0_attentions_0_transformer_blocks_0_attn1"  # of the U-Net of `sd15`


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: make(kind, root / kind) for kind in MAKERS}


def drawn(engine, model, **changes):
    request = an_image_request(model=model, num_inference_steps=2, seed=7, **changes)
    images = engine.generate(ImageRequest(**request), lambda step, of: None).images
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("kind", MAKERS)
def test_each_architecture_is_warmed_up_and_serves_assignments(folders, tmp_path, kind):
    model = folders[kind]
    assert json.loads((Path(model) / "model_index.json").read_text())["_class_name"] == CLASSES[kind]
    engine, publisher, reports = DiffusersEngine(PipelineOptions()), MemoryPublisher(), MemoryPublisher()
    speeds, problems = warm_up(engine, (model,))
    assert problems == []
    settings = Settings(_env_file=None, data_dir=tmp_path)
    done = DoneLedger(tmp_path / "done.db")
    node = NodeWorker(
        name="a",
        settings=settings,
        engine=engine,
        publisher=publisher,
        reporter_publisher=reports,
        done=done,
        store=ImageStore(settings.store, inline_mib=1.0),
        speeds=speeds,
        problems=problems,
        counts=WorkerCounts(CollectorRegistry()),
    )
    try:
        for attempt in (1, 2):
            request = an_image_request(model=model, num_inference_steps=2, n=2, seed=7, negative_prompt="blue")
            told = Assignment(job="j", attempt=attempt, node="a", client="c", request=request, limit_s=600.0)
            node.run(told, 0)
        report = node.report()
    finally:
        node.end()
    first, again = (post.body["outcome"] for post in publisher.sent)
    assert (first["result"], first["resident"]) == ("done", [model])
    pictures = [Image.open(io.BytesIO(base64.b64decode(image["data"]))) for image in first["images"]]
    assert [picture.size for picture in pictures] == [(64, 64), (64, 64)]
    assert [image["sha256"] for image in first["images"]] == [image["sha256"] for image in again["images"]]
    assert first["images"][0]["sha256"] != first["images"][1]["sha256"]
    assert report.abilities is not None
    assert report.abilities.models[model].needs_mib > 0
    assert report.model_files.keys() == {model}


def test_sd3_draws_with_its_t5_encoder_and_without(folders):
    with_t5 = drawn(DiffusersEngine(PipelineOptions(drop_t5=False)), folders["sd3"])
    without = drawn(DiffusersEngine(PipelineOptions(drop_t5=True)), folders["sd3"])
    assert not np.array_equal(with_t5, without)


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3", "flux"])
def test_each_starts_from_a_picture(folders, kind):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (20, 200, 30)).save(buffer, "PNG")
    start = base64.b64encode(buffer.getvalue()).decode()
    engine = DiffusersEngine(PipelineOptions())
    assert drawn(engine, folders[kind], image=start, strength=0.5).shape == (1, 64, 64, 3)


def lora(names):
    """The weights of a LoRA of rank 2 for the queries of one attention layer, under the names of a format."""
    torch.manual_seed(1)
    down, up, *alpha = names
    return {down: torch.randn(2, 8), up: torch.randn(8, 2), **{name: torch.tensor(2.0) for name in alpha}}


FORMATS = {
    "kohya": [
        f"lora_unet_{ATTENTION}_to_q.lora_down.weight",
        f"lora_unet_{ATTENTION}_to_q.lora_up.weight",
        f"lora_unet_{ATTENTION}_to_q.alpha",
    ],
    "diffusers": [
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight",
    ],
}


def test_an_adapter_in_kohyas_format_draws_what_it_draws_in_that_of_diffusers(folders, tmp_path):
    for name, keys in FORMATS.items():
        save_file(lora(keys), tmp_path / f"{name}.safetensors")
    engine = DiffusersEngine(replace(PipelineOptions(), adapters_folder=str(tmp_path)))
    plain, *adapted = (
        drawn(engine, folders["sd15"], adapters=adapters) for adapters in (None, *({name: 1.0} for name in FORMATS))
    )
    assert np.array_equal(*adapted)
    assert not np.array_equal(plain, adapted[0])
