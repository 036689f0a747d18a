"""What becomes of the images of a done outcome, worked by hand."""

from __future__ import annotations

import pytest
from planner_world import World

from broker_config.messages import Outcome
from planner.turns.drawing import problem_with, store_drawing


@pytest.fixture
def drawn(world):
    """A running job with its attempt, and the outcome that its node sends."""
    world.up("a")
    world.submit()
    job = world.planner.book.jobs["job-1"]
    (attempt,) = world.planner.book.cluster.nodes["a"].attempts.values()
    outcome = Outcome(
        job="job-1",
        attempt=1,
        node="a",
        result="done",
        images=[World.image("1")],
        timings={"transfer_in_s": 1.0, "load_s": 2.0, "generation_s": 3.0, "transfer_out_s": 0.5},
        warnings=("unknown word",),
    )
    return world, job, attempt, outcome


def test_what_the_node_did_not_measure_was_waiting(drawn):
    world, job, attempt, outcome = drawn
    drawing = store_drawing(world.store, job, attempt, outcome, job.created_at + 10.0)
    assert drawing.delays.waiting_s == pytest.approx(10.0 - 6.5)
    assert drawing.delays.service_delay_s == pytest.approx(10.0)


def test_a_node_that_measures_more_than_there_was_leaves_no_negative_waiting(drawn):
    world, job, attempt, outcome = drawn
    assert store_drawing(world.store, job, attempt, outcome, job.created_at + 1.0).delays.waiting_s == 0.0


def test_the_ledger_keeps_references_and_the_client_gets_the_image_itself(drawn):
    world, job, attempt, outcome = drawn
    drawing = store_drawing(world.store, job, attempt, outcome, job.created_at + 10.0)
    (written,), (told,) = drawing.columns()["images"], drawing.told("tiny")["images"]
    assert "data" not in written
    assert written["url"].endswith("job-1/0.png")
    assert told.png().endswith(b"1")
    assert drawing.columns()["warnings"] == ["unknown word"]
    assert drawing.told("tiny")["placer"] == drawing.columns()["placer"] == "least-backlog"


def test_without_warnings_the_ledger_has_none(drawn):
    world, job, attempt, outcome = drawn
    quiet = outcome.model_copy(update={"warnings": ()})
    assert store_drawing(world.store, job, attempt, quiet, job.created_at).columns()["warnings"] is None


def test_the_first_of_several_problems_is_named(drawn):
    world, _, _, outcome = drawn
    broken = {**World.image("2"), "sha256": "0"}
    images = (*outcome.images, *Outcome(**{**outcome.to_wire(), "images": [broken, broken]}).images)
    assert problem_with(outcome, 1, world.store) is None
    assert problem_with(outcome, 2, world.store) == "1 images came instead of 2"
    assert problem_with(outcome.model_copy(update={"images": images}), 3, world.store) is not None
