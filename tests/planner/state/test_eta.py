"""Foretold times, by hand, and what is promised of them."""

from __future__ import annotations

import math

import pytest
from planner_world import World

from planner.calibration import FIRST_SPREAD_LOG, Stage
from planner.state.eta import foretold_behind_s

SPEED = {"tiny": {"load_s": 2.0, "s_per_unit": 100.0, "overhead_units": 0.0}}
UNITS = 64 * 64 * 1e-6 * 8  # of a job with the default 8 image steps


@pytest.fixture
def world():
    world = World()
    world.up("a", speeds=SPEED, resident=["tiny"])
    return world


def event(world, job, kind="placed"):
    return next(event for event in world.events if event.job == job and event.kind == kind)


@pytest.mark.parametrize("kind", ["accepted", "placed"])
def test_on_an_idle_node_the_median_is_the_generation_itself(world, kind):
    world.submit()
    assert event(world, "job-1", kind).eta_p50_s == pytest.approx(100.0 * UNITS, abs=0.01)


@pytest.mark.parametrize("kind", ["accepted", "placed"])
def test_a_cold_model_adds_its_load(kind):
    world = World()
    world.up("a", speeds=SPEED)
    world.submit()
    assert event(world, "job-1", kind).eta_p50_s == pytest.approx(2.0 + 100.0 * UNITS, abs=0.01)


def test_a_job_that_waits_alone_is_foretold_for_its_best_node(world):
    slow = {"tiny": {**SPEED["tiny"], "s_per_unit": 1000.0}}
    world.up("b", speeds=slow, resident=["tiny"])
    world.submit()
    assert event(world, "job-1", "accepted").eta_p50_s == pytest.approx(100.0 * UNITS, abs=0.01)


def test_behind_another_job_it_adds_what_that_has_left(world):
    world.submit("one")
    world.clock.time_s += 1.0
    world.submit("two")
    assert event(world, "two").eta_p50_s == pytest.approx(2 * 100.0 * UNITS - 1.0, abs=0.01)
    factor = math.exp(FIRST_SPREAD_LOG)
    assert event(world, "two").eta_p90_s == pytest.approx(event(world, "two").eta_p50_s * factor, rel=1e-3)


def test_behind_others_all_work_before_it_is_shared_by_the_ready_nodes(world):
    assert foretold_behind_s([4.0, 8.0], ahead_s=6.0, own_s=3.0) == pytest.approx(12.0)
    world.up("b", speeds=SPEED, resident=["tiny"])
    for index in range(7):
        world.submit(f"job-{index}")
    one = 100.0 * UNITS
    ahead = 4 * one + 2 * one  # held by the nodes, and waiting
    assert event(world, "job-6", "accepted").eta_p50_s == pytest.approx(ahead / 2 + one, rel=0.05)


def test_while_no_node_is_ready_nothing_is_foretold():
    world = World()
    world.submit()
    assert event(world, "job-1", "accepted").eta_p50_s is None


def test_a_planner_that_always_foretells_half_learns_to_promise_the_truth_and_keeps_that_over_a_restart(world):
    for number in range(60):
        world.submit(f"job-{number}")
        promised = event(world, f"job-{number}")
        world.start("a")
        world.clock.time_s += 2 * 100.0 * UNITS
        world.finish("a", timings={"generation_s": 100.0 * UNITS})  # the rest is lost on the way
        world.record()
        if number == 30:
            world.restart()
            world.report("a", resident=["tiny"])
    assert promised.eta_p50_s == pytest.approx(2 * 100.0 * UNITS, rel=0.02)
    assert len(world.planner.book.calibrations[Stage.PLACED].scores) == 50


def test_a_promise_that_was_open_when_the_planner_died_still_teaches(world):
    world.submit()
    world.start("a")
    world.restart()
    world.report("a", resident=["tiny"])
    world.clock.time_s += 10.0
    world.finish("a", timings={"generation_s": 9.0})
    world.record()
    scores = {stage: list(made.scores) for stage, made in world.planner.book.calibrations.items()}
    assert scores == {stage: pytest.approx([math.log(10.0 / (100.0 * UNITS))], rel=1e-3) for stage in Stage}


def test_an_attempt_that_is_taken_back_teaches_nothing_of_placements(world):
    world.submit()
    world.drain("a")
    world.start("a")
    world.finish("a", "cancelled")
    world.record()
    assert not world.planner.book.calibrations[Stage.PLACED].scores
