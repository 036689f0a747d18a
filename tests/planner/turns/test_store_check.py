"""Whether a node has the planner's store is known from its first report on."""

from __future__ import annotations

import pytest

from planner.store import Store
from planner.turns.store_check import CHECK_AGAIN_S, NOT_SHARED, UNWRITABLE
from workers.image_store import ImageStore


def note_of(world, name="a"):
    with world.ledger.transaction() as connection:
        return next(row["reason"] for row in world.ledger.nodes(connection) if row["name"] == name)


def introduce(world, url, instance="1"):
    assert ImageStore(url, inline_mib=1).introduce("a", instance)


def test_a_node_with_the_planners_store_has_no_note(world):
    introduce(world, world.files.url)
    world.up("a", wrote_token=True)
    assert note_of(world) == ""


@pytest.mark.fault(49, "B")
def test_a_node_with_another_store_is_known_at_its_first_report_and_still_draws(world, tmp_path):
    introduce(world, f"file://{tmp_path}")
    world.up("a", wrote_token=True)
    assert note_of(world) == NOT_SHARED
    world.submit()
    world.draw("a")
    assert world.state() == "DONE"


def test_what_an_earlier_worker_of_the_node_wrote_does_not_count(world):
    introduce(world, world.files.url, instance="an-earlier-one")
    world.up("a", wrote_token=True)
    assert note_of(world) == NOT_SHARED


def test_a_node_that_cannot_write_to_its_store_says_so(world):
    world.up("a", wrote_token=False)
    assert note_of(world) == UNWRITABLE


def test_an_older_worker_is_not_asked(world):
    world.up("a")
    assert note_of(world) == ""


def test_a_store_that_is_mounted_later_ends_the_note(world):
    world.up("a", wrote_token=True)
    introduce(world, world.files.url)
    world.report("a", wrote_token=True)
    assert note_of(world) == NOT_SHARED  # not looked at with every report
    world.clock.time_s += CHECK_AGAIN_S
    world.report("a", wrote_token=True)
    assert note_of(world) == ""


def test_a_planner_whose_store_does_not_work_blames_no_node(world, tmp_path):
    (tmp_path / ".nodes/a").mkdir(parents=True)
    world.store = Store(f"file://{tmp_path}", inline_mib=1)
    world.up("a", wrote_token=True)
    assert note_of(world) == ""
    assert world.planner.book.cluster.nodes["a"].accepts_jobs
