from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from workers.tiny_training.drawing import draw
from workers.tiny_training.judge import judge
from workers.tiny_training.scenes import COMBINATIONS, Picture, sample


def rendered(kind: str, number: int, size_px: int) -> list[tuple[Picture, Image.Image]]:
    rng = random.Random(f"{kind} {size_px}")
    pictures = [sample(rng, kind, COMBINATIONS, COMBINATIONS) for _ in range(number)]
    return [(picture, draw(picture, size_px, rng)[0]) for picture in pictures]


@pytest.mark.parametrize("kind", ["single", "count", "pair"])
@pytest.mark.parametrize("size_px", [64, 96])
def test_ninety_eight_of_a_hundred_true_renders_are_judged_right_in_everything(kind, size_px):
    verdicts = [judge(image, picture) for picture, image in rendered(kind, 200, size_px)]
    everything = [v.right and v.place and v.background for v in verdicts]
    assert sum(everything) / len(everything) >= 0.98


@pytest.mark.parametrize("kind", ["single", "count", "pair"])
def test_a_picture_of_another_prompt_is_judged_wrong(kind):
    drawn = rendered(kind, 100, 64)
    others = [judge(drawn[index - 1][1], picture) for index, (picture, _) in enumerate(drawn)]
    assert sum(verdict.right for verdict in others) / len(others) <= 0.05


def test_the_wrong_shape_in_the_right_colour_is_a_wrong_shape():
    rng = random.Random(0)
    asked = sample(rng, "single", (("red", "circle"),))
    shown = sample(rng, "single", (("red", "square"),))
    verdict = judge(draw(shown, 64, rng)[0], asked)
    assert verdict.colour
    assert not verdict.shape
    assert not verdict.right


def test_two_objects_in_swapped_places_are_wrong():
    picture = sample(random.Random(1), "pair", (("red", "circle"),), (("blue", "square"),))
    image = draw(picture, 64, random.Random(0))[0]
    assert judge(image, picture).right
    swapped = image.transpose(Image.Transpose.ROTATE_180)
    assert not judge(swapped, picture).right


def test_noise_and_a_blank_image_are_judged_wrong_without_failing():
    picture = sample(random.Random(2), "single")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert not judge(Image.fromarray(noise), picture).right
    blank = judge(Image.new("RGB", (64, 64), "white"), picture)
    assert not blank.number
    assert not blank.colour
