"""Promised quantiles, by hand and on drifting scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.calibration import (
    BEYOND_LOG,
    BEYOND_SLOPE,
    FIRST_SPREAD_LOG,
    LEVELS,
    MAX_SCORES,
    MIN_LEVEL,
    SHARES,
    STEPS,
    Calibration,
    Promise,
    quantiles,
)


def test_before_anything_is_known_the_median_is_what_was_foretold():
    eta = Calibration().promise("a", 10.0, now=0.0)
    assert eta.p50_s == pytest.approx(10.0)
    assert eta.p90_s == pytest.approx(10.0 * math.exp(FIRST_SPREAD_LOG))


def test_the_quantiles_are_those_of_the_next_score():
    scores = [0.1 * number for number in range(1, 10)]  # nine, so that the next one is each of ten ranks alike
    assert quantiles(scores, [], [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9])
    assert quantiles([0.2], [], [0.9, 1.1]) == pytest.approx([0.2 + BEYOND_LOG, 0.2 + BEYOND_LOG + 0.1 * BEYOND_SLOPE])


def test_what_is_still_open_counts_as_longer_than_it_has_taken():
    # Of 1, 2 and two that are beyond 1.5: 1 is passed by 3 of 4 others and the next, 2 then by half of what is left.
    reached_1, reached_2 = 1 / 5, 1 - (4 / 5) * (1 / 2)
    assert quantiles([1.0, 2.0], [1.5, 1.5], [reached_1]) == [1.0]
    assert quantiles([1.0, 2.0], [1.5, 1.5], [reached_1 + 0.01, reached_2]) == [2.0, 2.0]
    assert quantiles([1.0, 2.0], [0.5, 0.5], [0.5]) == quantiles([1.0, 2.0], [], [0.5])


def test_a_promise_is_broken_when_it_is_overrun_and_counts_once():
    calibration = Calibration()
    eta = calibration.promise("a", 10.0, now=0.0)
    calibration.eta(1.0, now=eta.p50_s + 1.0)
    broken = SHARES[0] + STEPS[0] * SHARES[0]
    assert calibration.levels == pytest.approx([broken, SHARES[1]])
    assert calibration.keep("a", eta.p50_s + 2.0)
    assert calibration.levels == pytest.approx([broken, SHARES[1] - STEPS[1] * (1 - SHARES[1])])
    assert list(calibration.scores) == pytest.approx([math.log((eta.p50_s + 2.0) / 10.0)])
    assert not calibration.keep("a", 99.0)


def test_what_was_forgotten_teaches_nothing_even_if_its_key_comes_again():
    calibration = Calibration()
    calibration.promise("a", 1.0, now=0.0)
    calibration.forget("a")
    calibration.promise("a", 1e6, now=0.0)
    calibration.eta(1.0, now=100.0)
    assert calibration.levels == list(SHARES)
    assert not calibration.scores


def test_a_resumed_promise_goes_on_and_what_it_had_overrun_counts_no_second_time():
    first = Calibration()
    eta = first.promise("a", 10.0, now=0.0)
    first.eta(1.0, now=12.0)
    second = Calibration(first.scores, first.levels)
    second.resume("a", Promise(foretold_s=10.0, made_at=0.0, eta=eta), now=12.0)
    for calibration in (first, second):
        calibration.keep("a", 100.0)
    assert second.levels == first.levels
    assert second.scores == first.scores


def drifting(generator, jobs=2_000):
    """Seconds between predictions, and true factors: from 3.6 times too long to 2 times too short, and back."""
    wave = np.sin(np.linspace(0.0, 3 * math.pi, jobs))
    return generator.exponential(1.0, jobs), np.exp(-0.3 + wave + generator.normal(0.0, 0.4, jobs))


def test_the_shares_hold_while_the_error_of_what_is_foretold_drifts():
    generator = np.random.default_rng(3)
    gaps, factors = drifting(generator)
    calibration, at, within, ends = Calibration(), 0.0, [], []
    for number, (gap, factor) in enumerate(zip(gaps, factors, strict=True)):
        at += gap
        for end, key in [entry for entry in ends if entry[0] <= at]:
            calibration.keep(key, end)
            ends.remove((end, key))
        eta = calibration.promise(number, 20.0, at)
        within.append((20.0 * factor <= eta.p50_s, 20.0 * factor <= eta.p90_s))
        ends.append((at + 20.0 * factor, number))
        ends.sort()
    p50, p90 = np.mean(within, axis=0)
    assert 0.45 <= p50 <= 0.55
    assert 0.87 <= p90 <= 0.93


def test_half_still_come_within_the_median_while_each_takes_less_than_all_before_it():
    # Given a queue that drains: what is foretold gets too long faster than scores can follow
    generator = np.random.default_rng(4)
    calibration, now, within = Calibration(), 0.0, []
    for number in range(300):
        taken_s = 1e9 * math.exp(-0.1 * number + generator.normal(0.0, 0.05))
        within.append(taken_s <= calibration.promise(number, 1e9, now).p50_s)
        now += taken_s
        calibration.keep(number, now)
    # Then the median is found below the least score; without that it covers nine in ten
    assert 0.45 <= np.mean(within[50:]) <= 0.55


def test_a_level_below_all_scores_is_less_than_the_least_by_how_far_it_is_below():
    found = quantiles([0.2, 0.4], [9.0], [MIN_LEVEL - 0.05])
    assert found == pytest.approx([0.2 - 0.05 * BEYOND_SLOPE])


@given(st.lists(st.tuples(st.floats(0.0, 1e9), st.floats(0.0, 1e9)), max_size=MAX_SCORES + 5))
def test_whatever_comes_the_promise_is_finite_ordered_and_its_state_small(outcomes):
    calibration, now = Calibration(), 0.0
    for number, (foretold_s, taken_s) in enumerate(outcomes):
        eta = calibration.promise(number, foretold_s, now)
        assert 0.0 <= eta.p50_s <= eta.p90_s < math.inf
        now += taken_s
        calibration.keep(number, now)
    assert len(calibration.scores) <= MAX_SCORES
    assert all(LEVELS[0] <= level <= LEVELS[1] for level in calibration.levels)
