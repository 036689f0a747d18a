"""What a model does not heed of a request is said, and nothing is said of what it heeds."""

from __future__ import annotations

import pytest
from image_requests import an_image_request

from broker_config.messages import ImageRequest
from workers.model_source import ModelFacts
from workers.unheeded import unheeded

SD3 = ("prompt", "negative_prompt", "guidance_scale")


class WordTokenizer:
    """One token a word, between a first and a last one, as CLIP's."""

    all_special_ids = (0, 1)

    def __init__(self, model_max_length=None):
        if model_max_length is not None:
            self.model_max_length = model_max_length
        self._words = ["", ""]

    def __call__(self, text, truncation, max_length=None, verbose=True):
        for word in text.split():
            if word not in self._words:
                self._words.append(word)
        ids = [self._words.index(word) for word in text.split()]
        if truncation:
            ids = ids[: max_length - 2]
        return type("Encoding", (), {"input_ids": [0, *ids, 1]})

    def decode(self, ids):
        return " ".join(self._words[number] for number in ids)


class T5Tokenizer(WordTokenizer):
    """One that heeds `max_sequence_length`."""


class Pipeline:
    def __init__(self, *tokenizers):
        for name, tokenizer in zip(("tokenizer", "tokenizer_2", "tokenizer_3"), tokenizers, strict=False):
            setattr(self, name, tokenizer)

    def __call__(self, prompt, max_sequence_length=8):
        """Draw nothing."""


def said(*tokenizers, accepted=SD3, facts=None, **fields):
    request = ImageRequest(**an_image_request(**fields))
    return unheeded(request, facts or ModelFacts(), Pipeline(*tokenizers), accepted)


def test_a_prompt_that_fits_is_not_worth_a_word():
    assert said(WordTokenizer(5), None, WordTokenizer(), prompt="a red heart") == []


def test_the_end_of_a_prompt_that_is_too_long_is_named_and_where():
    (sentence,) = said(WordTokenizer(5), prompt="a red heart over there")
    assert sentence == "prompt: is 7 tokens long and a text encoder takes 5; it does not see: 'over there'"


def test_encoders_that_stop_at_the_same_word_are_one_sentence_and_others_have_their_own():
    sentences = said(WordTokenizer(5), WordTokenizer(5), WordTokenizer(6), prompt="a red heart over there")
    assert [sentence.rpartition(": ")[2] for sentence in sentences] == ["'over there'", "'there'"]


def test_a_negative_prompt_can_be_too_long_as_well():
    (sentence,) = said(WordTokenizer(4), prompt="a", negative_prompt="rain snow hail", guidance_scale=2)
    assert sentence.startswith("negative_prompt: is 5 tokens long")
    assert sentence.endswith("'hail'")


def test_a_t5_encoder_takes_as_many_tokens_as_the_pipeline_gives_it():
    words = " ".join(f"w{number}" for number in range(7))
    assert "takes 8" in said(T5Tokenizer(512), prompt=words)[0]
    assert "takes 4" in said(T5Tokenizer(512), prompt=words, facts=ModelFacts(max_sequence_length=4))[0]


def test_what_is_cut_off_is_shown_in_part_if_it_is_long():
    (sentence,) = said(WordTokenizer(3), prompt="a " + "b" * 1000)
    assert len(sentence) < 320
    assert "…" in sentence


@pytest.mark.parametrize(("guidance", "count"), [(0.0, 1), (1.0, 1), (1.01, 0), (7.0, 0)])
def test_a_negative_prompt_needs_guidance_above_1(guidance, count):
    sentences = said(negative_prompt="rain", guidance_scale=guidance)
    assert len(sentences) == count
    assert all(f"guidance_scale {guidance:g}" in sentence for sentence in sentences)
    assert said(negative_prompt=" ", guidance_scale=guidance) == []


@pytest.mark.parametrize("accepted", [("prompt",), ("prompt", "negative_prompt", "true_cfg_scale")])
def test_a_pipeline_that_has_no_use_for_a_negative_prompt_is_named(accepted):
    (sentence,) = said(accepted=accepted, negative_prompt="rain", guidance_scale=7)
    assert sentence == "negative_prompt: Pipeline makes no use of it"


def test_words_that_a_small_model_has_never_seen_are_named():
    facts = ModelFacts(words=frozenset({"a", "heart"}))
    assert said(facts=facts, prompt="A red heart") == ["'tiny' does not know: red; it knows a heart"]
    assert said(facts=facts, prompt="A heart") == []
