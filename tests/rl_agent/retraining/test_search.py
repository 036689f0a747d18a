from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files

from rl_agent.policy.file import parse_policy
from rl_agent.retraining.search import Search


@pytest.fixture
def weights():
    return parse_policy("v", policy_files("v", scale=0.3)).weights


def test_the_search_goes_down_and_never_up(weights):
    def bowl(tried):
        return float(np.square(tried.output_weight - 1.0).sum())

    search = Search(weights, bowl, seed=0)
    begun = search.best_s
    seen = [begun]
    for _ in range(300):
        search.step()
        seen.append(search.best_s)
    assert seen == sorted(seen, reverse=True)
    assert search.best_s < 0.3 * begun
    assert bowl(search.best) == search.best_s


def test_a_policy_that_nothing_improves_is_left_as_it_is(weights):
    search = Search(weights, lambda tried: 1.0, seed=0)
    assert not any(search.step() for _ in range(20))
    assert search.best is weights
    assert search.trials == 20


def test_equal_seeds_try_the_same(weights):
    def one(seed):
        search = Search(weights, lambda tried: float(tried.latent.sum()), seed)
        for _ in range(10):
            search.step()
        return search.best.latent

    np.testing.assert_array_equal(one(1), one(1))
    assert not np.array_equal(one(1), one(2))
