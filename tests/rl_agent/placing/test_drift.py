from __future__ import annotations

import math

import numpy as np
import pytest

from rl_agent.placing.drift import CALM_OUTCOMES, Drift


def play(drift, factors, spread_log=0.1):
    """Return after how many outcomes the alarm stood."""
    return [
        n
        for n, factor in enumerate(factors, 1)
        if drift.observe(taken_s=factor, predicted_s=1.0, level_log=0.0, spread_log=spread_log) or drift.is_alarm
    ]


def test_a_node_five_times_slower_is_noticed_within_three_outcomes():
    drift = Drift()
    assert play(drift, [5.0, 5.0, 5.0])[0] == 3
    assert drift.factor == pytest.approx(5.0)


def test_an_estimate_that_follows_at_once_hides_no_drift():
    drift, level_log = Drift(), 0.0
    alarms, factors = [], []
    for factor in [1.0] * 5 + [5.0] * 60:
        predicted_s = math.exp(level_log)
        drift.observe(taken_s=factor, predicted_s=predicted_s, level_log=level_log, spread_log=0.1)
        level_log += 0.6 * (math.log(factor) - level_log)
        alarms.append(drift.is_alarm)
        factors.append(drift.factor)
    assert alarms.index(True) == 7
    assert factors[7] == pytest.approx(5.0)
    assert not alarms[-1]


def test_a_node_that_became_faster_is_noticed_too():
    drift = Drift()
    play(drift, [0.3] * 4)
    assert drift.is_alarm
    assert drift.factor == pytest.approx(0.3)


def test_a_thousand_well_predicted_outcomes_raise_no_alarm():
    generator = np.random.default_rng(0)
    assert play(Drift(), np.exp(generator.normal(0.0, 0.1, 1000))) == []


def test_one_gross_outlier_is_no_drift():
    drift = Drift()
    assert play(drift, [1.0] * 5 + [50.0] + [1.0] * 5) == []


def test_the_alarm_ends_when_predictions_fit_again():
    drift = Drift()
    play(drift, [5.0] * 3)
    play(drift, [1.0] * (CALM_OUTCOMES + 20))
    assert not drift.is_alarm


def test_an_outcome_without_time_says_nothing():
    drift = Drift()
    assert not drift.observe(taken_s=0.0, predicted_s=1.0, level_log=0.0, spread_log=0.1)
    assert drift == Drift()
