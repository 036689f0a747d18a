from __future__ import annotations

import pytest
from fake_engine import FakeEngine

from workers.emulated import EmulatedEngine, EmulatedSpeed
from workers.errors import ModelMissingError
from workers.warm_up import warm_up


def test_it_measures_load_and_speed_of_each_model():
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=2.0, load_s=0.05, resident_models=2))
    speeds, problems = warm_up(engine, ("x", "y"))
    assert problems == []
    assert engine.resident == ("x", "y")
    for speed in speeds.values():
        assert speed.load_s >= 0.05
        assert speed.s_per_unit > 1.0


def test_a_model_that_does_not_work_is_a_sentence_and_not_the_end():
    speeds, problems = warm_up(FakeEngine(load_error=ModelMissingError("x", "no such folder")), ("x",))
    assert speeds == {}
    assert problems == ["model 'x' cannot be loaded: no such folder"]


def test_an_engine_too_quick_to_measure_still_has_a_speed():
    speeds, _ = warm_up(FakeEngine(), ("x",))
    assert speeds["x"].s_per_unit > 0
    assert speeds["x"].overhead_units >= 0


def test_a_fault_of_our_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        warm_up(FakeEngine(load_error=ZeroDivisionError()), ("x",))


@pytest.mark.parametrize(("sizes_px", "side_px"), [(None, 64), ((64, 96), 64), ((256, 128), 128)])
def test_it_draws_at_a_size_that_the_model_allows(sizes_px, side_px):
    engine = FakeEngine()
    engine.only_sizes_px = sizes_px
    speeds, problems = warm_up(engine, ("x",))
    assert problems == []
    assert {(request.width_px, request.height_px) for request in engine.drawn} == {(side_px, side_px)}
    assert speeds["x"].s_per_unit > 0
