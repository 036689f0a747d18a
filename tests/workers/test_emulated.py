from __future__ import annotations

import time

import pytest
from fake_engine import FakeEngine

from broker_config.errors import ConfigurationError
from broker_config.messages import ImageRequest
from workers.emulated import EmulatedEngine, EmulatedSpeed, SlowedEngine, parse_drift
from workers.errors import AdapterMissingError

REQUEST = ImageRequest(model="m", prompt="x", width_px=1000, height_px=1000, seed=3, n=2, num_inference_steps=4)


@pytest.fixture
def sleeps(monkeypatch):
    """Time that passes by sleeping only."""
    now, naps = [1000.0], []

    def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return naps


def test_it_takes_the_seconds_per_megapixel_step_that_it_is_told(sleeps):
    steps = []
    generated = EmulatedEngine(EmulatedSpeed(s_per_unit=0.5, load_s=3.0)).generate(
        REQUEST, lambda *step: steps.append(step)
    )
    assert sleeps == [3.0, 1.0, 1.0, 1.0, 1.0]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert generated.seeds == [3, 4]
    assert [image.size for image in generated.images] == [(1000, 1000)] * 2
    assert "emulated" in generated.warnings[0]


def test_the_time_scale_shortens_everything(sleeps):
    EmulatedEngine(EmulatedSpeed(s_per_unit=0.5, load_s=3.0, time_scale=0.1)).generate(REQUEST, lambda step, of: None)
    assert sleeps == pytest.approx([0.3, 0.1, 0.1, 0.1, 0.1])


def test_a_resident_model_loads_in_no_time_and_the_least_recent_one_leaves(sleeps):
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=0, load_s=2.0, resident_models=2))
    assert [engine.load(model) for model in "abacb"] == [2.0, 2.0, 0.0, 2.0, 2.0]
    assert engine.resident == ("c", "b")


def test_what_was_unloaded_is_loaded_again(sleeps):
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=0, load_s=2.0))
    engine.load("a")
    SlowedEngine(engine, 2.0).unload()
    assert engine.resident == ()
    assert engine.load("a") == 2.0


def test_speed_drifts_when_its_time_has_come(sleeps):
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=0.5, drift=((2.0, 5.0), (7.0, 1.0))))
    engine.generate(REQUEST, lambda step, of: None)
    assert sleeps[1:] == [1.0, 1.0, 5.0, 1.0]


def test_without_a_folder_of_adapters_it_takes_any(sleeps):
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=0))
    engine.generate(REQUEST.model_copy(update={"adapters": {"oil": 1.0}}), lambda step, of: None)
    assert engine.abilities().adapters is None


def test_it_has_the_adapters_of_its_folder_and_refuses_others(sleeps, tmp_path):
    (tmp_path / "sketch.safetensors").write_bytes(b"")
    engine = EmulatedEngine(EmulatedSpeed(s_per_unit=0), str(tmp_path))
    engine.generate(REQUEST.model_copy(update={"adapters": {"sketch": 1.0}}), lambda step, of: None)
    assert set(engine.abilities().adapters) == {"sketch"}
    assert engine.abilities().loaded_adapters == {"m": ("sketch",)}
    with pytest.raises(AdapterMissingError, match="it has: sketch"):
        engine.generate(REQUEST.model_copy(update={"adapters": {"oil": 1.0}}), lambda step, of: None)


@pytest.mark.parametrize(("text", "drift"), [("", ()), ("60:5,120:1", ((60, 5), (120, 1))), (" 1:2 ,", ((1, 2),))])
def test_drift_is_read(text, drift):
    assert parse_drift(text) == drift


@pytest.mark.parametrize("text", ["60", "a:b", "1:2:3", "60-5"])
def test_bad_drift_names_its_setting(text):
    with pytest.raises(ConfigurationError, match="LADLE_EMULATED_DRIFT"):
        parse_drift(text)


def test_a_slowed_engine_rests_in_proportion_to_its_own_steps(sleeps):
    def work(step):
        time.sleep(0.1)

    inner = FakeEngine(work)
    seen = []
    slowed = SlowedEngine(inner, 3.0)
    slowed.generate(REQUEST, lambda *step: seen.append(step))
    assert sleeps == pytest.approx([0.1, 0.2] * 4)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert slowed.load("m") == 0.25
    assert slowed.resident == ("m",)
