"""The fit of seconds over image steps, pixels and images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_agent.placing.work_law import MAX_FURTHER_IMAGE, MIN_SLOPE, WorkLaw


def test_the_first_image_counts_whole_and_further_ones_by_their_share():
    assert WorkLaw(overhead_units=3.0, further_image=0.25).work(40.0, 4) == pytest.approx(10.0 * 1.75 + 3.0)
    assert WorkLaw().work(40.0, 4) == pytest.approx(40.0)


@pytest.mark.parametrize("start", [WorkLaw(), WorkLaw(overhead_units=100.0)], ids=["proportional", "spoilt"])
@pytest.mark.parametrize(("overhead", "further"), [(20.0, 0.08), (0.0, 1.0), (16.0, 0.5)])
def test_the_law_of_a_node_is_found_whatever_it_is_and_began_with(start, overhead, further):
    generator = np.random.default_rng(1)
    law, level = replace(start), 1.0
    for _ in range(150):
        units, n = float(generator.choice([10, 20, 30, 40])), int(generator.choice([1, 1, 2, 4, 8]))
        taken = (units * (1.0 + further * (n - 1)) + overhead) * math.exp(generator.normal(0.0, 0.05))
        level *= (taken / (level * law.work(units * n, n))) ** 0.3  # as the running mean follows
        level *= law.observe(units * n, n, taken / level)
    for units, n in ((10.0, 1), (40.0, 1), (20.0, 8)):
        true = units * (1.0 + further * (n - 1)) + overhead
        assert level * law.work(units * n, n) == pytest.approx(true, rel=0.15)


def test_jobs_that_are_all_alike_leave_the_shape_as_it_was():
    law = WorkLaw(overhead_units=2.0, further_image=0.5)
    for _ in range(50):
        law.observe(8.0, 2, law.work(8.0, 2))
    assert (law.overhead_units, law.further_image) == pytest.approx((2.0, 0.5), rel=1e-6)


@pytest.mark.parametrize("units", [6.4e-5, 0.032, 8.0, 8_000.0])
def test_after_thousands_of_equal_jobs_the_law_still_learns_and_still_fits(units):
    generator = np.random.default_rng(2)
    law = WorkLaw(overhead_units=units / 4)
    for _ in range(3_000):
        assert MIN_SLOPE <= law.observe(units, 1, law.work(units) * math.exp(generator.normal(0.0, 0.3))) < 10.0
        assert law.is_plausible
    level = 1.0
    for _ in range(100):  # the node draws further images for a tenth
        n = int(generator.choice([1, 4]))
        taken = units * (1.25 + 0.1 * (n - 1))
        level *= law.observe(units * n, n, taken / level)
    assert level * law.work(units * 4, 4) == pytest.approx(1.55 * units, rel=0.15)


def test_a_law_of_absurd_numbers_is_implausible():
    law = WorkLaw()
    law.observe(8.0, 2, 9.0)
    assert law.is_plausible
    for change in (
        {"overhead_units": math.nan},
        {"moment": [math.inf] * 3},
        {"moment": []},
        {"information": [0.0] * 6},
    ):
        assert not replace(law, **change).is_plausible


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.integers(1, 64), st.floats(1e-9, 1e12)), max_size=40))
def test_whatever_is_measured_the_law_stays_plausible(outcomes):
    law = WorkLaw()
    for units, n, measured in outcomes:
        assert MIN_SLOPE <= law.observe(units, n, measured) < math.inf
        assert law.is_plausible
        assert 0.0 <= law.further_image <= MAX_FURTHER_IMAGE
