"""Running means of logarithms."""

from __future__ import annotations

import math

import pytest

from rl_agent.placing.running_mean import GUESS_SHARE, RunningLogMean


def test_first_observations_are_averaged_evenly_in_logarithms():
    mean = RunningLogMean(mean_log=0.0)
    mean.observe(2.0)
    assert mean.median == pytest.approx(2.0)
    mean.observe(2.2)
    assert mean.median == pytest.approx(math.sqrt(2.0 * 2.2))


def test_a_node_ten_times_slower_is_believed_within_three_jobs():
    mean = RunningLogMean(mean_log=0.0)
    for _ in range(20):
        mean.observe(1.0)
    for _ in range(3):
        mean.observe(10.0)
    assert mean.median > 5.0


@pytest.mark.parametrize("outlier", [0.01, 100.0])
def test_an_outlier_does_not_swing_the_estimate(outlier):
    mean = RunningLogMean(mean_log=0.0)
    for value in (1.0, 1.1, 0.9, 1.05, 0.95, outlier, 1.0, 1.1):
        mean.observe(value)
    assert mean.median == pytest.approx(1.0, rel=0.25)


def test_hardly_anything_of_a_guess_is_left_after_the_first_measurement():
    mean = RunningLogMean(mean_log=0.0)
    mean.observe(100.0)
    mean.replace_guess(1.0)
    assert mean.median == pytest.approx(100.0**GUESS_SHARE)
    assert mean.count == 1
