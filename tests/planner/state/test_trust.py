"""A node whose jobs take longer than it says is predicted by the planner's clock."""

from __future__ import annotations

import logging
import random

import pytest
from planner_world import World

from broker_config.settings import Settings
from planner.serving.placers import make_placer

UNITS = 8 * 64 * 64 * 1e-6  # of a job
HONEST_S = 3.0
BOAST_S = 1.2  # and takes five times as long


def note_of(world, name):
    with world.ledger.transaction() as connection:
        return next(row["reason"] for row in world.ledger.nodes(connection) if row["name"] == name)


def generation_s(world, name):
    return world.planner.book.cluster.estimates.of(name, "tiny").generation_s(UNITS)


def up(world, name, generation_s):
    speeds = {"tiny": {"load_s": 0.0, "s_per_unit": generation_s / UNITS}}
    world.up(name, speeds=speeds, resident=["tiny"])


class Fleet:
    """Two nodes that say how long they need, and one that may not; jobs come at random.

    Args:
        placer: by name.
        seed: of the arrivals.
    """

    def __init__(self, placer: str, seed: int) -> None:
        self.world = World(make_placer(Settings(_env_file=None, placer=placer)), node_timeout_s=1e9)
        self.takes_s = {"honest": HONEST_S, "honest-too": HONEST_S, "odd": 5 * BOAST_S}
        self.says_s = {"honest": HONEST_S, "honest-too": HONEST_S, "odd": BOAST_S}
        for name, says_s in self.says_s.items():
            up(self.world, name, says_s)
        self.began: dict[str, float] = {}
        self.random = random.Random(seed)
        self.jobs = 0

    def serve(self, jobs: int, every_s: float) -> float:
        """Let jobs come and be done; return the share of them that the odd node did."""
        first, due_s = self.jobs, self.world.clock.time_s
        while self.jobs < first + jobs or self.world.planner.book.jobs:
            while self.jobs < first + jobs and due_s <= self.world.clock.time_s:
                self.world.submit(f"job-{self.jobs}")
                self.jobs += 1
                due_s += self.random.expovariate(1.0 / every_s)
            self._work()
            self.world.tick(0.2)
        return sum(self.world.row(f"job-{number}")["node"] == "odd" for number in range(first, self.jobs)) / jobs

    def _work(self) -> None:
        now_s = self.world.clock.time_s
        for name, takes_s in self.takes_s.items():
            if name in self.began and now_s - self.began[name] >= takes_s:
                del self.began[name]
                self.world.finish(name, timings={"generation_s": self.says_s[name]}, resident=["tiny"])
                self.world.record()
            if name not in self.began and self.world.start(name):
                self.began[name] = now_s


@pytest.mark.fault(44, "B")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("placer", ["earliest-completion", "joint-completion", "lad-ts"])
def test_a_node_that_boasts_gets_less_work_until_it_keeps_its_word(placer, seed):
    # Given a node that says it is the fastest of three, and is the slowest
    fleet = Fleet(placer, seed)
    before = fleet.serve(5, every_s=2.5)
    # When the planner has seen some of its results
    fleet.serve(25, every_s=2.5)
    # Then it is predicted by the clock, and gets as little as a node of its true speed
    assert generation_s(fleet.world, "odd") > 3 * BOAST_S
    after = fleet.serve(40, every_s=2.5)
    assert before >= 0.4
    assert after <= 0.25
    # And when it does what it says, it is found out in a rush, and gets the most work
    fleet.takes_s["odd"] = BOAST_S
    fleet.serve(30, every_s=0.5)
    assert generation_s(fleet.world, "odd") == pytest.approx(BOAST_S, rel=0.25)
    assert fleet.serve(40, every_s=2.5) >= 0.5


@pytest.fixture
def boaster(world):
    """A node that says that it draws five times as fast as it does, and has been found out."""
    up(world, "a", BOAST_S)
    draw(world, 8, says_s=BOAST_S, takes_s=5 * BOAST_S)
    return world


def draw(world, jobs, *, says_s, takes_s, load_s=0.0):
    for _ in range(jobs):
        world.submit(f"at-{world.clock.time_s}")
        world.start("a")
        world.clock.time_s += takes_s
        world.finish("a", timings={"generation_s": says_s, "load_s": load_s}, resident=["tiny"])
        world.record()


def test_the_table_of_nodes_and_the_log_say_so_until_it_is_over(boaster, caplog):
    caplog.set_level(logging.INFO)
    assert note_of(boaster, "a") == "its jobs take 5 times as long as it reports"
    draw(boaster, 5, says_s=6.0, takes_s=6.0)
    assert note_of(boaster, "a") == ""
    assert "node a: its jobs take as long as it reports again" in caplog.text


def test_generation_hidden_in_a_load_that_was_not_due_is_found(world):
    up(world, "a", BOAST_S)
    draw(world, 8, says_s=0.2, takes_s=6.0, load_s=5.8)
    assert generation_s(world, "a") == pytest.approx(6.0, rel=0.25)


def test_a_load_that_was_due_is_no_boast(world):
    world.up("a")
    for number in range(8):
        world.submit(f"job-{number}", request={"model": f"model-{number % 2}"})
        world.start("a")
        world.clock.time_s += 30.0
        world.finish("a", timings={"generation_s": 2.0, "load_s": 28.0}, resident=[f"model-{number % 2}"])
        world.record()
    assert note_of(world, "a") == ""


def test_a_node_cannot_say_that_more_time_has_passed_than_has(world):
    up(world, "a", 2.0)
    draw(world, 8, says_s=1e6, takes_s=2.0)
    assert generation_s(world, "a") == pytest.approx(2.0, rel=0.1)


def test_a_cut_link_does_not_change_what_is_known_of_a_node(world):
    up(world, "a", 2.0)
    draw(world, 8, says_s=2.0, takes_s=2.0)
    for _ in range(2):
        draw(world, 1, says_s=2.0, takes_s=600.0)
        draw(world, 3, says_s=2.0, takes_s=2.0)
    assert note_of(world, "a") == ""
    assert generation_s(world, "a") == pytest.approx(2.0, rel=0.1)


def test_time_in_which_the_planner_did_not_run_counts_for_nobody(world):
    up(world, "a", 2.0)
    for number in range(10):
        world.submit(f"job-{number}")
        world.start("a")
        world.pause(100)
        world.tick()
        world.finish("a", timings={"generation_s": 2.0}, resident=["tiny"])
        world.record()
    assert note_of(world, "a") == ""
    assert generation_s(world, "a") == pytest.approx(2.0, rel=0.1)


def test_a_planner_that_has_just_started_holds_nothing_against_a_node_that_was_placed_before(world):
    up(world, "a", 2.0)
    for number in range(10):
        world.submit(f"job-{number}")
        world.start("a")
        world.pause(100)
        world.restart()
        world.finish("a", timings={"generation_s": 2.0}, resident=["tiny"])
        world.record()
    assert note_of(world, "a") == ""


def test_a_removed_node_begins_anew(boaster):
    boaster.remove("a")
    up(boaster, "a", BOAST_S)
    assert note_of(boaster, "a") == ""
    assert generation_s(boaster, "a") == pytest.approx(BOAST_S)
