"""Predicted times, by hand."""

from __future__ import annotations

import math

import pytest
from planner_world import World

SPEED = {"tiny": {"load_s": 2.0, "s_per_unit": 100.0, "overhead_units": 0.0}}
UNITS = 64 * 64 * 1e-6 * 8  # of a job with the default 8 image steps


@pytest.fixture
def world():
    world = World()
    world.up("a", speeds=SPEED, resident=["tiny"])
    return world


def placed(world, job):
    return next(event for event in world.events if event.job == job and event.kind == "placed")


def test_on_an_idle_node_the_median_is_the_generation_itself(world):
    world.submit()
    assert placed(world, "job-1").eta_p50_s == pytest.approx(100.0 * UNITS, abs=0.01)


def test_a_cold_model_adds_its_load():
    world = World()
    world.up("a", speeds=SPEED)
    world.submit()
    assert placed(world, "job-1").eta_p50_s == pytest.approx(2.0 + 100.0 * UNITS, abs=0.01)


def test_behind_another_job_it_adds_what_that_has_left(world):
    world.submit("one")
    world.clock.time_s += 1.0
    world.submit("two")
    assert placed(world, "two").eta_p50_s == pytest.approx(2 * 100.0 * UNITS - 1.0, abs=0.01)
    assert placed(world, "two").eta_p90_s > placed(world, "two").eta_p50_s


def test_while_waiting_all_work_before_it_is_shared_by_the_ready_nodes(world):
    world.up("b", speeds=SPEED, resident=["tiny"])
    for index in range(7):
        world.submit(f"job-{index}")
    accepted = next(e for e in world.events if e.job == "job-6" and e.kind == "accepted")
    one = 100.0 * UNITS
    ahead = 4 * one + 2 * one  # held by the nodes, and waiting
    assert accepted.eta_p50_s == pytest.approx(ahead / 2 + one, rel=0.05)
    assert accepted.eta_p90_s == pytest.approx(accepted.eta_p50_s * math.exp(1.2816 * 0.5), rel=0.01)
