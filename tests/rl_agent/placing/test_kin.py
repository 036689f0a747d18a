"""Medians over the fleet, for what was not measured."""

from __future__ import annotations

import math

import pytest

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.kin import Kin, of_kin


@pytest.fixture
def kin():
    estimates = Estimates()
    for node, model, seconds, load_s in (
        ("a", "m", 1.0, 4.0),
        ("b", "m", 4.0, 9.0),
        ("b", "m + x", 8.0, 0.5),
        ("c", "m + y", 5.0, 0.0),
    ):
        estimates.observe_outcome(node, model, units=1.0, generation_s=seconds, load_s=load_s)
    return Kin.of(estimates.by_node)


def test_a_models_speed_is_the_median_over_the_nodes_and_a_node_is_so_much_slower(kin):
    assert kin.model_log["m"] == pytest.approx(math.log(2.0))
    assert kin.node_log["a"] == pytest.approx(math.log(0.5))


def test_adapters_are_compared_with_their_model_on_the_same_node_only(kin):
    assert kin.adapters_log == pytest.approx({"m + x": math.log(2.0)})


def test_loads_of_models_and_of_adapters_are_kept_apart(kin):
    assert kin.model_load_log.keys() == {"m"}
    assert kin.adapters_load_log == pytest.approx({"m + x": math.log(0.5)})


def test_what_is_unknown_is_the_median_of_the_others_or_the_prior():
    assert of_kin({"a": 1.0, "b": 2.0, "c": 4.0}, "b", 9.0) == 2.0
    assert of_kin({"a": 1.0, "b": 2.0, "c": 4.0}, "d", 9.0) == 2.0
    assert of_kin({}, "d", 9.0) == 9.0
