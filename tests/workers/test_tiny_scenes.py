from __future__ import annotations

import random

import numpy as np
import pytest

from workers.tiny_training.drawing import COLOUR_IDS, SHAPE_IDS, draw
from workers.tiny_training.latent_cache import loosened
from workers.tiny_training.scenes import COMBINATIONS, HELD_OUT, KIND_WEIGHTS, TRAINING, sample
from workers.tiny_training.vocabulary import COLOURS, MAX_WORDS, PLURALS, SHAPES, words


def test_no_training_picture_shows_a_held_out_combination():
    rng = random.Random(0)
    shown = {(item.colour, item.shape) for _ in range(5000) for item in sample(rng).items}
    assert shown == set(TRAINING)


def test_every_colour_and_shape_is_held_out_in_some_combination_and_seen_in_most():
    assert len(HELD_OUT) == 12
    assert {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)
    assert all(sum(name in pair for pair in HELD_OUT) <= 2 for name in (*COLOURS, *SHAPES))
    assert len(COMBINATIONS) == len(TRAINING) + len(HELD_OUT)


def test_captions_use_only_known_words_and_fit_the_text_encoder():
    rng = random.Random(1)
    known = set(words())
    for _ in range(3000):
        caption = sample(rng).caption
        assert set(caption.split()) <= known
        assert len(caption.split()) <= MAX_WORDS


def test_a_loosened_caption_still_fits_and_keeps_every_word():
    rng = random.Random(2)
    for _ in range(2000):
        caption = sample(rng).caption
        kept = loosened(caption, rng).replace(",", "").split()
        assert [word for word in kept if word in caption.split()] == caption.split()


def test_the_plural_of_cross_is_crosses():
    assert PLURALS["cross"] == "crosses"
    assert PLURALS["star"] == "stars"


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
