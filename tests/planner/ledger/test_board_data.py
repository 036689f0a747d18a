"""What the page reads of the ledger, on both databases."""

from __future__ import annotations

import math

import pytest
from planner_world import World

from planner.ledger import board_data
from planner.ledger.ledger import Ledger

PICTURE = "iVBORw0KGgo" * 1000


@pytest.fixture
def world(database_url):
    world = World(ledger=Ledger(database_url))
    world.up("a")
    for number in range(3):
        world.submit(f"http.ann.{number}", request={"prompt": f"heart {number}"})
    world.submit("http.annette.1", request={"prompt": "star"}, priority=0)
    return world


def read(world, function, *arguments, **named):
    with world.ledger.transaction(reads=True) as connection:
        return function(connection, *arguments, **named)


def test_waiting_jobs_have_places_by_class_and_age(world):
    for job, priority in (("old", 1), ("new", 1), ("urgent", 0)):
        world.submit(job, priority=priority)
        world.pause(1.0)
    places = read(world, board_data.waiting_by_age, 10)
    assert places == ["http.annette.1", "urgent", "http.ann.2", "old", "new"]
    assert read(world, board_data.waiting_by_age, 1) == ["http.annette.1"]
    world.cancel("urgent")
    assert read(world, board_data.waiting_by_age, 10) == [job for job in places if job != "urgent"]


def test_open_jobs_are_counted_by_state_and_owner(world):
    assert read(world, board_data.open_counts) == {"PLACED": 2, "WAITING": 2}
    assert sum(read(world, board_data.open_counts, "http.ann.").values()) == 3
    world.draw("a")
    assert sum(read(world, board_data.open_counts).values()) == 3


def test_jobs_that_nodes_hold_come_first_then_the_higher_class(world):
    rows = read(world, board_data.open_jobs, 10)
    assert [row["id"] for row in rows][:2] == ["http.ann.0", "http.ann.1"]
    assert [row["id"] for row in rows][2:] == ["http.annette.1", "http.ann.2"]
    assert "request" not in rows[0]
    assert [row["id"] for row in read(world, board_data.open_jobs, 10, but="http.ann.")] == ["http.annette.1"]
    assert len(read(world, board_data.open_jobs, 1, "http.ann.")) == 1


def test_facts_hold_the_beginning_of_a_prompt_and_no_picture(world):
    world.submit("long", request={"prompt": "x" * 1000, "image": PICTURE, "strength": 0.5})
    world.submit("several", request={"prompt": "s", "n": 2})
    facts = read(world, board_data.job_facts, ["long", "several", "unknown"])
    assert facts["long"]["prompt"] == "x" * board_data.SHOWN_PROMPT
    assert (facts["several"]["prompt"], facts["several"]["n"]) == ("s", 2)
    assert facts.keys() == {"long", "several"}
    assert PICTURE not in str(facts)


def test_attempts_are_open_until_they_are_closed(world):
    world.start("a")
    world.report("a")
    held = read(world, board_data.open_attempts, 10)
    assert [(row["job"], row["state"]) for row in held] == [("http.ann.0", "RUNNING"), ("http.ann.1", "PLACED")]
    assert read(world, board_data.closed_attempts, 0.0, 10) == []
    world.finish("a")
    world.record()
    (closed,) = read(world, board_data.closed_attempts, 0.0, 10)
    assert (closed["job"], closed["node"], closed["result"]) == ("http.ann.0", "a", "done")
    assert read(world, board_data.closed_attempts, world.clock.time_s + 1, 10) == []


def test_drawn_jobs_come_newest_first_and_page_by_page(world):
    for _ in range(4):
        world.draw("a")
        world.tick()
    drawn = read(world, board_data.drawn_jobs, 10, math.inf)
    assert len(drawn) == 4
    assert {row["id"] for row in read(world, board_data.drawn_jobs, 10, math.inf, "http.ann.")} == {
        f"http.ann.{number}" for number in range(3)
    }
    assert read(world, board_data.drawn_jobs, 10, drawn[-1]["created_at"]) == []


def test_delays_on_both_sides_of_a_promotion(world):
    world.draw("a")
    promoted_at = world.clock.time_s + 0.5
    before, since = read(world, board_data.delays_around, "v2", promoted_at)
    assert (before.jobs, since.jobs) == (1, 0)
    assert math.isnan(since.mean_s)
    assert before.over_predicted > 0.0


def test_dead_letters_are_counted(world):
    assert read(world, world.ledger.count_dead_letters) == 0
    world.bury(world.start("a"))
    assert read(world, world.ledger.count_dead_letters) == 1
