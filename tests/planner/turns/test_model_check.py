"""A node whose files of a model differ from those of most nodes gets no jobs of it."""

from __future__ import annotations

import logging

import pytest

RIGHT, WRONG, OTHER = "a" * 64, "b" * 64, "c" * 64


def up(world, **files):
    for name, sha256 in files.items():
        world.up(name, model_files={} if sha256 is None else {"tiny": sha256})


def note_of(world, name):
    with world.ledger.transaction() as connection:
        return next(row["reason"] for row in world.ledger.nodes(connection) if row["name"] == name)


def draw_all(world, jobs):
    """Submit jobs and let them be done; return the nodes that drew them."""
    names = [f"job-{len(world.told['client-1'])}-{number}" for number in range(jobs)]
    for name in names:
        world.submit(name)
    while world.planner.book.jobs:
        for name in world.nodes:
            if world.start(name):
                world.draw(name)
    return {world.row(name)["node"] for name in names}


@pytest.mark.fault(50, "B")
def test_a_node_that_differs_from_most_gets_no_jobs_of_the_model_and_it_is_said_why(world, caplog):
    # Given a node that comes first with another model under the name, and two that agree
    up(world, wrong=WRONG)
    world.submit("early")
    world.submit("early-too")
    world.start("wrong")
    up(world, b=RIGHT, c=RIGHT)
    # Then what it has not begun goes elsewhere, and so does what comes
    assert world.row("early-too")["node"] in ("b", "c")
    world.draw(world.row("early-too")["node"])
    world.finish("wrong")
    world.record()
    assert draw_all(world, 6) <= {"b", "c"}
    assert note_of(world, "wrong") == "its files of tiny are not those that most nodes have: it gets no such jobs"
    assert "node wrong: its files of tiny are not those that most nodes have" in caplog.text
    assert note_of(world, "b") == note_of(world, "c") == ""
    # And other models are not affected
    world.submit("another", request={"model": "other"})
    for name in ("b", "c"):
        world.report(name, state="draining", model_files={"tiny": RIGHT})
    world.submit("another-too", request={"model": "other"})
    assert world.row("another-too")["node"] == "wrong"


def test_a_worker_that_is_started_again_with_the_right_files_gets_jobs_again(world, caplog):
    caplog.set_level(logging.INFO)
    up(world, wrong=WRONG, b=RIGHT, c=RIGHT)
    up(world, wrong=RIGHT)
    assert note_of(world, "wrong") == ""
    assert "node wrong: its files of tiny are no longer in doubt" in caplog.text
    assert "wrong" in draw_all(world, 6)


@pytest.mark.parametrize("files", [{"a": WRONG, "b": RIGHT}, {"a": WRONG, "b": RIGHT, "c": OTHER}])
def test_where_no_model_has_a_majority_nobody_is_barred_and_all_are_told(world, files):
    up(world, **files)
    assert draw_all(world, 8) == set(files)
    note = "its files of tiny are not those of other nodes, and no more than half of them agree"
    assert {note_of(world, name) for name in files} == {note}


def test_a_node_that_reports_a_thousand_models_makes_one_short_line(world, caplog):
    models = [f"model-{number}" for number in range(1000)]
    world.up("a", model_files=dict.fromkeys(models, RIGHT))
    world.up("b", model_files=dict.fromkeys(models, WRONG))
    said = [record for record in caplog.records if "its files of" in record.getMessage()]
    assert [record.args[0] for record in said] == ["a", "b"]
    assert "model-0, model-1, model-2 and 997 more" in note_of(world, "b")


def test_a_node_that_reports_nothing_differs_from_nobody(world):
    up(world, a=RIGHT, b=RIGHT, old=None)
    assert "old" in draw_all(world, 8)
    assert note_of(world, "old") == ""


def test_only_nodes_that_are_present_count(world):
    up(world, a=RIGHT, b=RIGHT, c=WRONG)
    world.report("a", state="stopped", model_files={"tiny": RIGHT})
    world.tick()
    assert "no more than half of them agree" in note_of(world, "c")
    for _ in range(12):
        world.tick()
        world.report("c", model_files={"tiny": WRONG})
    assert note_of(world, "c") == ""
    assert draw_all(world, 1) == {"c"}


def test_a_planner_that_has_just_started_still_knows(world):
    up(world, a=RIGHT, b=RIGHT, c=WRONG)
    world.restart()
    world.tick()
    assert "c" not in draw_all(world, 6)


def test_a_barred_node_is_none_that_works_for_others(world):
    up(world, a=RIGHT, b=RIGHT, c=WRONG)
    world.report("b", state="draining", model_files={"tiny": RIGHT})
    for number in range(4):
        world.submit(f"job-{number}")
        world.start("a")
        world.finish("a", "failed")
        world.record()
    assert not world.planner.book.cluster.nodes["a"].breakers["tiny"].is_open
