"""What becomes of the images of a done outcome, worked by hand."""

from __future__ import annotations

import pytest
from live_attempts import an_attempt
from planner_world import World

from broker_config.messages import Outcome, StoredImage
from planner.turns.drawing import Drawing

STORED = (StoredImage(seed=1, sha256="0", url="memory://store/job-1/0.png"),)


@pytest.fixture
def attempt():
    return an_attempt()


@pytest.fixture
def outcome():
    return Outcome(
        job="job-1",
        attempt=1,
        node="a",
        result="done",
        images=[World.image("1")],
        timings={"transfer_in_s": 1.0, "load_s": 2.0, "generation_s": 3.0, "transfer_out_s": 0.5},
        warnings=("unknown word",),
    )


def test_what_the_node_did_not_measure_was_waiting(outcome, attempt):
    delays = Drawing.of(outcome, attempt, STORED, 10.0).delays
    assert delays.waiting_s == pytest.approx(10.0 - 6.5)
    assert delays.service_delay_s == pytest.approx(10.0)


def test_a_node_that_measures_more_than_there_was_leaves_no_negative_waiting(outcome, attempt):
    assert Drawing.of(outcome, attempt, STORED, 1.0).delays.waiting_s == 0.0


def test_the_ledger_keeps_references_and_the_client_gets_the_image_itself(outcome, attempt):
    drawing = Drawing.of(outcome, attempt, STORED, 10.0)
    columns, fields = drawing.columns(), drawing.event_fields()
    assert columns["images"] == [{"seed": 1, "sha256": "0", "url": "memory://store/job-1/0.png"}]
    assert fields["images"][0].png().endswith(b"1")
    assert columns["warnings"] == ["unknown word"]
    assert (fields["placer"], fields["policy_version"]) == (columns["placer"], columns["policy_version"])


def test_an_image_that_the_node_stored_is_told_by_its_reference(outcome, attempt):
    by_reference = outcome.model_copy(update={"images": STORED})
    assert Drawing.of(by_reference, attempt, STORED, 10.0).event_fields()["images"] == STORED


def test_without_warnings_the_ledger_has_none(outcome, attempt):
    quiet = outcome.model_copy(update={"warnings": ()})
    assert Drawing.of(quiet, attempt, STORED, 10.0).columns()["warnings"] is None
