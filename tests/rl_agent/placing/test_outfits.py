"""Names of models with their adapters."""

from __future__ import annotations

from rl_agent.placing.outfits import has_adapters, model_of, outfit_of


def test_an_outfit_is_named_by_model_and_adapters_in_one_order():
    assert outfit_of("tiny") == "tiny"
    assert outfit_of("tiny", ("sketch", "oil")) == outfit_of("tiny", ("oil", "sketch")) == "tiny + oil + sketch"


def test_an_outfit_tells_its_model_and_whether_there_are_adapters():
    assert model_of("tiny + oil") == model_of("tiny") == "tiny"
    assert has_adapters("tiny + oil")
    assert not has_adapters("tiny")
