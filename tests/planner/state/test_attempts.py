"""One attempt in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from live_attempts import an_attempt

from planner.state.attempts import LiveAttempt

NOW_S = 1000.0


@pytest.fixture
def attempt():
    return an_attempt(predicted_s=10.0, placed_at=NOW_S)


def test_an_attempt_survives_its_row(attempt):
    row = {
        "job": "job-1",
        "number": 1,
        "node": attempt.node,
        "predicted_service_s": 10.0,
        "created_at": NOW_S,
        "placer": "random",
        "policy_version": "v1",
        "state": "WRITTEN",
    }
    assert LiveAttempt.from_row(row, model="tiny", adapters=(), units=1.0, images=1) == attempt
    published = LiveAttempt.from_row({**row, "state": "PUBLISHED"}, model="tiny", adapters=(), units=1.0, images=1)
    assert published == replace(attempt, published=True)


def test_an_attempt_that_is_sent_again_is_back_in_the_outbox(attempt):
    lost = replace(attempt, published=True)
    lost.send_again()
    assert (lost.published, lost.resent) == (False, 1)
    assert lost.key == ("job-1", 1)
