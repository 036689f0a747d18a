from __future__ import annotations

import random

from workers.tiny_training.scenes import COMBINATIONS, HELD_OUT, TRAINING, sample
from workers.tiny_training.vocabulary import COLOURS, MAX_WORDS, SHAPES, words


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
