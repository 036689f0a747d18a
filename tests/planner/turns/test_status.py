"""What a client hears that asks where its job is."""

from __future__ import annotations

import pytest
from planner_world import World

SPEED = {"tiny": {"load_s": 0.0, "s_per_unit": 100.0, "overhead_units": 0.0}}
JOB_S = 100.0 * 64 * 64 * 1e-6 * 8  # of a job with the default 8 image steps


@pytest.fixture
def world():
    world = World()
    world.up("a", speeds=SPEED, resident=["tiny"])
    return world


def status(world, job):
    world.ask(job)
    return world.events[-1]


def test_of_a_running_job_it_is_the_image_step_the_start_and_what_is_left(world):
    world.submit("one")
    world.start("a")
    world.clock.time_s += 1.0
    world.report("a", image_step=3)
    said = status(world, "one")
    assert (said.kind, said.state, said.node) == ("status", "RUNNING", "a")
    assert (said.step, said.image_steps, said.running_s) == (3, 8, 1.0)
    assert said.eta_p50_s == pytest.approx(JOB_S - 1.0, abs=0.01)
    assert said.eta_p90_s > said.eta_p50_s


def test_of_a_job_in_a_queue_it_is_what_the_node_does_first_and_the_job_itself(world):
    for job in ("one", "two", "three"):
        world.submit(job)
    world.start("a")
    world.report("a")
    said = status(world, "two")
    assert (said.state, said.step, said.running_s) == ("PLACED", None, None)
    assert said.eta_p50_s == pytest.approx(2 * JOB_S, abs=0.01)


def test_of_a_waiting_job_it_is_why_it_waits_and_a_prediction_once_a_node_is_ready():
    world = World()
    world.submit("one")
    said = status(world, "one")
    assert "no node is ready" in said.reason
    assert said.eta_p50_s is None
    world.up("a", speeds=SPEED, models=["other"])
    said = status(world, "one")
    assert "no ready node serves model 'tiny'" in said.reason
    assert said.eta_p50_s is not None


def test_more_image_steps_than_were_asked_for_are_not_passed_on(world):
    world.submit("one")
    world.start("a")
    world.report("a", image_step=1000)
    assert status(world, "one").step == 8


def test_whoever_takes_a_running_job_over_hears_how_far_it_is(world):
    world.submit("one", client="first")
    world.start("a")
    world.report("a", image_step=2)
    world.submit("one", client="second")
    assert [(event.kind, event.step) for event in world.told["second"]] == [("status", 2)]


def test_of_a_job_that_starts_from_a_picture_the_image_steps_are_those_that_run(world):
    world.submit("one", request={"image": "AAAA", "strength": 0.6})
    world.start("a")
    world.report("a")
    assert (status(world, "one").step, status(world, "one").image_steps) == (0, 5)
    world.report("a", image_step=4, image_steps=4)  # as the node's pipeline counts
    assert (status(world, "one").step, status(world, "one").image_steps) == (4, 4)
