"""Small pictures of unfinished images."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from image_requests import an_image_request
from PIL import Image

from broker_config.messages import ImageRequest
from workers.model_options import PipelineOptions
from workers.pipelines import DiffusersEngine
from workers.previews import LatentColours, colours_of, encoded_preview, preview_steps


@pytest.fixture(scope="module")
def engine():
    engine = DiffusersEngine(PipelineOptions())
    engine.load("tiny")
    return engine


def drawn(engine, **fields):
    """The previews, by image step, and the finished image."""
    request = ImageRequest(**{**an_image_request(), "num_inference_steps": 8, **fields})
    previews = {}
    result = engine.generate(request, lambda step, of: None, previews.__setitem__)
    return previews, result.images[0]


def likeness(one, other):
    """Correlation of two pictures at the size of the first."""
    pixels = [np.asarray(picture.convert("RGB").resize(one.size), dtype=float).ravel() for picture in (one, other)]
    return np.corrcoef(*pixels)[0, 1]


@pytest.mark.parametrize(
    ("image_steps", "count", "steps"),
    [(8, 1, {4}), (8, 3, {2, 4, 6}), (10, 2, {3, 7}), (1, 3, set()), (2, 3, {1}), (8, 0, set())],
)
def test_previews_are_spread_evenly_and_never_the_finished_image(image_steps, count, steps):
    assert preview_steps(image_steps, count) - {image_steps} == preview_steps(image_steps, count)
    assert preview_steps(image_steps, count) == steps


def test_the_last_preview_looks_like_the_image_and_more_so_than_the_first(engine):
    previews, image = drawn(engine, prompt="a red heart", seed=5, partial_images=3)
    assert list(previews) == [2, 4, 6]
    first, last = previews[2], previews[6]
    assert likeness(last, image) > 0.6
    assert likeness(last, image) > likeness(first, image)


def test_without_the_wish_nothing_is_found_out_or_shown(engine):
    fresh = DiffusersEngine(PipelineOptions())
    previews, _ = drawn(fresh)
    assert previews == {}
    assert fresh._models["tiny"].colours == []


def test_previews_change_no_pixel(engine):
    with_previews = drawn(engine, seed=3, partial_images=3)[1]
    assert with_previews.tobytes() == drawn(engine, seed=3)[1].tobytes()


def test_the_colours_are_those_of_the_models_own_encoder(engine):
    import torch

    vae = engine._models["tiny"].pipeline.vae
    red = torch.zeros(1, 3, 64, 64)
    red[:, 0] = 1.0
    with torch.no_grad():
        cells = vae.encode(red * 2 - 1).latent_dist.mode()[0]
    latents = (cells - vae.config.shift_factor) * vae.config.scaling_factor
    seen = np.asarray(LatentColours(vae).picture(latents), dtype=float).mean(axis=(0, 1))
    assert seen[0] > 180
    assert max(seen[1:]) < 80


class Overflowing:
    """What an image encoder in half precision may come to."""

    def __init__(self, vae):
        self.config, self.device, self.dtype, self._vae = vae.config, vae.device, vae.dtype, vae

    def encode(self, image):
        return self._vae.encode(image * float("nan"))


class Full:
    """There is no memory left for the chart."""

    def __init__(self, vae):
        self.config, self.device, self.dtype = vae.config, vae.device, vae.dtype

    def encode(self, image):
        raise RuntimeError("out of memory")


def test_an_image_without_previews_is_better_than_none(engine, caplog):
    vae = engine._models["tiny"].pipeline.vae
    for pipeline in (
        object(),
        SimpleNamespace(vae=None),
        *(SimpleNamespace(vae=made(vae)) for made in (Overflowing, Full)),
    ):
        assert colours_of(pipeline) is None
    assert caplog.text.count("has no previews") == 4


def test_a_preview_travels_small():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (1024, 768, 3), dtype="uint8"))
    picture = Image.open(io.BytesIO(base64.b64decode(encoded_preview(noise))))
    assert (picture.format, picture.size) == ("JPEG", (96, 128))
