"""Pictures drawn from what they show."""

from __future__ import annotations

import random

import numpy as np
import pytest

from workers.tiny_training.drawing import COLOUR_IDS, SHAPE_IDS, draw
from workers.tiny_training.scenes import KIND_WEIGHTS, sample


@pytest.mark.parametrize("kind", KIND_WEIGHTS)
@pytest.mark.parametrize("size_px", [64, 96])
def test_the_same_seed_draws_the_same_picture(kind, size_px):
    drawn = [np.asarray(draw(sample(random.Random(5), kind), size_px, random.Random(6))[0]) for _ in range(2)]
    assert drawn[0].shape == (size_px, size_px, 3)
    assert np.array_equal(*drawn)


def test_labels_name_what_lies_in_each_cell():
    picture = sample(random.Random(3), "single", (("red", "square"),))
    _, labels = draw(picture, 64, random.Random(0))
    item = picture.items[0]
    middle = (int(item.y * 8), int(item.x * 8))
    assert labels[(0, *middle)] == COLOUR_IDS["red"]
    assert labels[(1, *middle)] == SHAPE_IDS["square"]
    assert set(np.unique(labels[1])) == {0, SHAPE_IDS["square"]}
