from __future__ import annotations

import pytest

from workers.tiny_training import tokenizer
from workers.tiny_training.vocabulary import MAX_TOKENS, words


@pytest.fixture(scope="module")
def built():
    return tokenizer.build()


def test_every_word_is_one_token(built):
    for word in words():
        assert len(built(word).input_ids) == 3, word


def test_unknown_words_and_foreign_letters_never_end_the_text_early(built):
    ids = built("a shiny Zürich 猫 circle").input_ids
    assert ids.index(built.eos_token_id) == len(ids) - 1


def test_the_end_marker_is_not_the_id_that_old_clip_configs_misuse(built):
    assert built.eos_token_id != 2
    assert built.model_max_length == MAX_TOKENS


def test_a_saved_tokenizer_reads_back_the_same(built, tmp_path):
    from transformers import CLIPTokenizer

    built.save_pretrained(tmp_path)
    prompt = "three small red stars, on a blue background"
    assert CLIPTokenizer.from_pretrained(tmp_path)(prompt).input_ids == built(prompt).input_ids
