from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rl_agent.placing.estimates import (
    MAX_MODELS,
    PRIOR_ADAPTERS_LOAD_S,
    PRIOR_LOAD_S,
    PRIOR_S_PER_UNIT,
    Estimates,
    work_units,
)


def test_work_is_image_steps_times_megapixels_times_images():
    assert work_units(num_inference_steps=28, width_px=1024, height_px=1024, n=2) == pytest.approx(58.720256)


def test_what_nobody_measured_is_the_prior():
    estimate = Estimates().of("a", "m")
    assert estimate.s_per_unit.median == pytest.approx(PRIOR_S_PER_UNIT)
    assert estimate.load_s.median == pytest.approx(PRIOR_LOAD_S)


def test_an_unseen_pair_borrows_the_model_from_other_nodes_and_the_node_from_other_models():
    # Given node b twice as slow as a on model m
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=10.0, generation_s=1.0, load_s=4.0)
    estimates.observe_outcome("b", "m", units=10.0, generation_s=2.0, load_s=0.0)
    # When a runs another model k at 0.3 s a unit, being sqrt(2) times faster than the median of a and b
    estimates.observe_outcome("a", "k", units=10.0, generation_s=3.0, load_s=0.0)
    # Then b is expected to be slower on k than the one node that ran it, by its own gap on m
    assert estimates.of("b", "k").s_per_unit.median == pytest.approx(0.3 * math.sqrt(2.0))
    assert estimates.of("c", "m").load_s.median == pytest.approx(4.0)


def test_a_borrowed_estimate_follows_its_kin_until_it_is_measured():
    estimates = Estimates()
    assert estimates.table(["m"], ["a", "b"]).s_per_unit.tolist() == [[1.0, 1.0]]
    estimates.observe_outcome("a", "m", units=1.0, generation_s=0.2, load_s=0.0)
    assert estimates.table(["m"], ["a", "b"]).s_per_unit[0] == pytest.approx([0.2, 0.2])
    estimates.observe_outcome("b", "m", units=1.0, generation_s=0.8, load_s=0.0)
    assert estimates.table(["m"], ["a", "b"]).s_per_unit[0] == pytest.approx([0.2, 0.8])


def test_the_fleet_measure_of_a_job_is_its_time_on_the_median_node():
    estimates = Estimates()
    for node, seconds in {"a": 1.0, "b": 2.0, "c": 8.0}.items():
        estimates.observe_outcome(node, "m", units=1.0, generation_s=seconds, load_s=0.0)
    assert estimates.fleet_generation_s("m", 3.0) == pytest.approx(6.0)


def test_a_warm_up_counts_once_and_outcomes_take_over():
    estimates = Estimates()
    estimates.observe_warm_up("a", "m", load_s=5.0, s_per_unit=0.5, overhead_units=2.0)
    estimates.observe_warm_up("a", "m", load_s=7.0, s_per_unit=9.0, overhead_units=9.0)
    estimate = estimates.of("a", "m")
    assert estimate.generation_s(10.0) == pytest.approx(6.0)
    assert estimate.load_s.median == pytest.approx(5.0)


def test_warm_ups_of_a_thousand_models_borrow_once_and_another_thousand_teach_nothing(monkeypatch):
    estimates, borrowings = Estimates(), []
    middle = Estimates._kin_by_now
    monkeypatch.setattr(Estimates, "_kin_by_now", lambda self: borrowings.append(self._kin) or middle(self))
    for start in range(3):
        models = {f"m{start}-{number}": (1.0, 2.0, 0.0) for number in range(MAX_MODELS)}
        known = estimates.observe_warm_ups("a", models)
        assert known == (models.keys() if start == 0 else set())
    assert len(estimates.by_node["a"]) == MAX_MODELS
    assert borrowings.count(None) <= 3
    estimates.observe_outcome("a", "drawn", units=1.0, generation_s=3.0, load_s=0.0)
    assert estimates.of("a", "drawn").generation_s(1.0) == pytest.approx(3.0)


@pytest.mark.parametrize("measured", [{"generation_s": 1e40}, {"load_s": 1e308}, {"generation_s": math.inf}])
def test_what_no_hardware_can_do_is_not_learned_and_said_so(measured, caplog):
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=1.0, generation_s=2.0, load_s=3.0)
    before = estimates.of("a", "m").s_per_unit.median, estimates.of("a", "m").load_s.median
    estimates.observe_outcome("a", "m", **{"units": 1.0, "generation_s": 0.0, "load_s": 0.0, **measured})
    assert (estimates.of("a", "m").s_per_unit.median, estimates.of("a", "m").load_s.median) == before
    assert "not learned from node a" in caplog.text


def test_an_estimate_is_plausible_until_it_could_overflow():
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=1.0, generation_s=2.0, load_s=3.0)
    estimate = estimates.of("a", "m")
    assert estimate.is_plausible
    for change in (
        {"mean_log": 1e300},
        {"mean_log": math.nan},
        {"std_log": math.inf},
        {"std_log": -1.0},
        {"count": -1},
    ):
        assert not replace(estimate, s_per_unit=replace(estimate.s_per_unit, **change)).is_plausible
        assert not replace(estimate, load_s=replace(estimate.load_s, **change)).is_plausible
    assert not replace(estimate, law=replace(estimate.law, overhead_units=math.nan)).is_plausible


def test_what_a_worker_measured_at_its_start_counts_little_beside_the_first_outcome():
    estimates = Estimates()
    estimates.observe_warm_up("a", "m", load_s=1.0, s_per_unit=77.0)  # three workers started together
    assert not estimates.of("a", "m").is_measured
    estimates.observe_outcome("a", "m", units=2.0, generation_s=9.0, load_s=0.0)
    assert estimates.of("a", "m").is_measured
    assert 9.0 <= estimates.of("a", "m").generation_s(2.0) <= 12.0
    for _ in range(4):
        estimates.observe_outcome("a", "m", units=2.0, generation_s=9.0, load_s=0.0)
    assert estimates.of("a", "m").generation_s(2.0) == pytest.approx(9.0, rel=0.1)


def test_images_that_cost_little_more_than_one_are_foreseen_to():
    estimates = Estimates()
    for n in (1, 2, 4, 8) * 10:
        estimates.observe_outcome("a", "m", units=10.0 * n, n=n, generation_s=18.0 + n, load_s=0.0)
    for n in (1, 4, 8):
        assert estimates.of("a", "m").generation_s(10.0 * n, n) == pytest.approx(18.0 + n, rel=0.05)
        assert estimates.of("b", "m").generation_s(10.0 * n, n) == pytest.approx(18.0 + n, rel=0.05)
        assert estimates.fleet_generation_s("m", 10.0 * n, n) == pytest.approx(18.0 + n, rel=0.05)


def test_a_model_with_adapters_has_estimates_of_its_own_and_begins_as_its_model():
    estimates = Estimates()
    for node, seconds in (("a", 1.0), ("b", 10.0)):
        estimates.observe_outcome(node, "m", units=10.0, generation_s=seconds, load_s=20.0)
    borrowed = estimates.of("b", "m + sketch")
    assert borrowed.s_per_unit.median == pytest.approx(1.0)
    assert borrowed.load_s.median == pytest.approx(PRIOR_ADAPTERS_LOAD_S)  # of the adapter alone
    assert estimates.fleet_generation_s("m + sketch", 10.0) == estimates.fleet_generation_s("m", 10.0)
    for _ in range(20):
        estimates.observe_outcome("a", "m + sketch", units=10.0, generation_s=3.0, load_s=0.5)
    assert estimates.of("a", "m + sketch").generation_s(10.0) == pytest.approx(3.0, rel=0.05)
    assert estimates.of("a", "m").generation_s(10.0) == pytest.approx(1.0, rel=0.05)
    assert estimates.of("b", "m + sketch").generation_s(10.0) == pytest.approx(30.0, rel=0.3)
    assert estimates.of("b", "m + sketch").load_s.median == pytest.approx(0.5)
    assert estimates.of("c", "another").load_s.median == pytest.approx(20.0)


def test_the_load_of_a_model_is_learned_apart_from_that_of_its_adapters():
    estimates = Estimates()
    estimates.observe_load("a", "m", 7.0)
    estimates.observe_load("a", "m", 0.0)
    assert estimates.of("a", "m").load_s.median == pytest.approx(7.0)


def test_the_first_outcome_corrects_the_guesses_of_nodes_that_have_finished_nothing_yet():
    # Given three workers that started together and measured one another, each by a factor of its own
    estimates = Estimates()
    for node, guess in (("a", 80.0), ("b", 160.0), ("c", 40.0)):
        estimates.observe_warm_up(node, "m", load_s=1.0, s_per_unit=guess)
    # When one of them has drawn a job, in a tenth of the time
    assert estimates.observe_outcome("a", "m", units=1.0, generation_s=8.0, load_s=0.0) == {"b", "c"}
    # Then the others are believed to be a tenth of their guesses too
    assert estimates.of("b", "m").s_per_unit.median == pytest.approx(16.0)
    assert estimates.of("c", "m").s_per_unit.median == pytest.approx(4.0)
    # And a second node corrects what is left by half of its own error
    assert estimates.observe_outcome("b", "m", units=1.0, generation_s=4.0, load_s=0.0) == {"c"}
    assert estimates.of("c", "m").s_per_unit.median == pytest.approx(2.0)
    # And later outcomes, or another model's, move no guess
    assert estimates.observe_outcome("b", "m", units=1.0, generation_s=1.0, load_s=0.0) == set()
    assert estimates.observe_outcome("a", "k", units=1.0, generation_s=1.0, load_s=0.0) == set()
    assert estimates.of("c", "m").s_per_unit.median == pytest.approx(2.0)
