from __future__ import annotations

import numpy as np
import pytest

from rl_agent.placing.placer import WAITING, Placement

NODE = np.array([1, WAITING, 0])
PROBABILITIES = np.array([[0.2, 0.8], [0.5, 0.5], [0.6, 0.4]])


def test_a_choice_is_as_likely_as_its_probability():
    placement = Placement(node=NODE, probabilities=PROBABILITIES)
    assert [placement.propensity_of(row) for row in (0, 2)] == [0.8, 0.6]


def test_a_choice_is_as_likely_as_the_placer_says_where_it_says_so():
    placement = Placement(node=NODE, probabilities=PROBABILITIES, propensity=np.array([1.0, 1.0, 0.1]))
    assert [placement.propensity_of(row) for row in (0, 2)] == pytest.approx([1.0, 0.1])
