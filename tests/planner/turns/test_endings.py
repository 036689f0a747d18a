"""What clients are told again of jobs that have ended."""

from __future__ import annotations

import pytest

ANN = "ann.0f"


@pytest.mark.fault(41, "B")
def test_a_question_brings_each_owner_a_bounded_amount_of_images_once(world, monkeypatch):
    monkeypatch.setattr("planner.turns.endings.MAX_BYTES", 60)  # about two of a test's pictures
    world.up("a")
    for number in range(6):
        world.submit(f"ann.{number}", client=ANN)
        world.draw("a")
    jobs = [f"ann.{number}" for number in range(6)]
    world.told.clear()
    world.ask(*jobs * 50, client=ANN)
    first = [event.job for event in world.told[ANN]]
    assert 0 < len(first) < 6
    assert len(set(first)) == len(first)
    world.submit("ann.0", client="eve.1e")  # another owner has an allowance of its own
    assert [event.kind for event in world.told["eve.1e"]] == ["done"]
    world.told.clear()
    world.ask(*jobs[len(first) :], client=ANN)  # who hears nothing asks again
    assert world.told[ANN][0].job == jobs[len(first)]
