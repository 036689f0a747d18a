from __future__ import annotations

import itertools
import math
import time

import pytest

from rl_agent.retraining.budget import NOTE_EVERY_S, OutOfTimeError, RoundBudget


class Clocked(RoundBudget):
    """A budget whose clocks are set by the test."""

    def __init__(self, seconds, progress=lambda _what, _share: None):
        self.now = (0.0, 0.0)
        super().__init__(seconds, progress)

    def used_s(self):
        return self.now


def test_all_time_counts_by_the_wall_and_by_the_processor():
    budget = RoundBudget(100.0)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    wall_s, processor_s = budget.used_s()
    assert wall_s > 0.0
    assert processor_s >= 0.2
    assert budget.spent == pytest.approx(wall_s / 100.0, rel=0.1)


def test_the_tighter_of_the_two_limits_counts_and_the_verdict_names_its_setting():
    budget = Clocked(100.0)
    budget.bound(10.0, lambda _wall_s, _processor_s: None)
    budget.now = (50.0, 2.0)
    assert budget.spent == 0.5
    assert "LADLE_RETRAIN_SECONDS allows no more" in budget.verdict()
    budget.now = (50.0, 8.0)
    assert budget.spent == 0.8
    assert "after 50 s and 8 s of the processor (LADLE_RETRAIN_SHARE allows no more)" in budget.verdict()


def test_what_is_left_is_told_at_the_pace_so_far():
    budget = Clocked(100.0)
    budget.bound(10.0, lambda _wall_s, _processor_s: None)
    budget.now = (20.0, 1.0)
    assert budget.left_s(0.6) == pytest.approx(40.0)
    budget.now = (20.0, 4.0)  # twice as fast as by the wall
    assert budget.left_s(0.6) == pytest.approx(10.0)
    assert budget.left_s(0.3) == 0.0


def test_a_phase_is_over_at_its_share_whatever_was_used_before():
    budget = Clocked(100.0)
    budget.now = (20.0, 0.0)
    phase = budget.phase("learning", 0.6)
    budget.now = (59.0, 0.0)
    assert phase.goes_on()
    budget.now = (60.0, 0.0)
    assert not phase.goes_on()
    with pytest.raises(OutOfTimeError, match="learning"):
        phase.check()
    with pytest.raises(OutOfTimeError):
        budget.phase("too late", 0.5).check()


def test_progress_is_told_by_work_or_by_time_whichever_is_further_and_not_at_every_step():
    told = []
    budget = Clocked(100.0, lambda what, share: told.append((what, share)))
    phase = budget.phase("learning", 0.5)
    for step in range(1_000):
        budget.now = (step / 100.0, 0.0)
        phase.done = 0.25
        phase.goes_on()
    assert told[0] == ("learning", 0.0)
    assert told[1][1] == 0.25
    assert len(told) < 110
    budget.now = (40.0, 0.0)
    phase.goes_on()
    assert told[-1] == ("learning", 0.8)


def test_the_time_used_is_noted_every_few_seconds():
    noted = []
    budget = Clocked(100.0)
    budget.bound(math.inf, lambda wall_s, processor_s: noted.append((wall_s, processor_s)))
    phase = budget.phase("learning", 1.0)
    for step in range(100):
        budget.now = (step / 5.0, step / 10.0)
        phase.goes_on()
    assert len(noted) == 4
    assert all(later[0] - earlier[0] >= NOTE_EVERY_S for earlier, later in itertools.pairwise(noted))
    assert all(processor_s == pytest.approx(wall_s / 2) for wall_s, processor_s in noted)
