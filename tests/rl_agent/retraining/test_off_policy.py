from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from policies import policy_files

from rl_agent.policy.file import parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.retraining.off_policy import estimate, predicted_delay_s
from rl_agent.retraining.samples import check_rows


@pytest.fixture
def samples(explored):
    return check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)]).kept


@pytest.fixture
def policy():
    return LearnedPlacer(policy=parse_policy("v", policy_files("v")))


def test_predicted_delays_are_those_of_the_planner(explored, samples):
    for row, sample in list(zip(explored, samples, strict=True))[:20]:
        predicted_s = predicted_delay_s(sample.decision)[sample.chosen]
        assert predicted_s == pytest.approx(row["foretold_s"], rel=0.02, abs=0.05)


def test_a_policy_that_is_the_logged_one_is_estimated_at_what_was_logged(samples):
    class Logged:
        @staticmethod
        def probabilities(rows, _latent_action):
            return rows[:, -2] / rows[:, -2].sum()

    uniform = [dataclasses.replace(sample, propensity=1.0 / sample.decision.eligible.sum()) for sample in samples]
    found = estimate(Logged(), uniform, exploration=1.0)
    assert found.snips_s == pytest.approx(found.logged_s)
    assert found.effective == pytest.approx(len(samples))


def test_both_estimates_find_that_a_good_policy_beats_random_placement(samples, policy):
    found = estimate(policy, samples, exploration=0.0)
    assert found.snips_s < found.logged_s
    assert found.doubly_robust_s < found.logged_s
    assert 5 < found.effective < len(samples)


def test_a_doubly_robust_estimate_is_right_when_the_model_is_although_the_propensities_are_not(samples, policy):
    # Given a log whose delays are exactly what was predicted, with propensities that are made up
    exact = [
        dataclasses.replace(sample, delay_s=float(predicted_delay_s(sample.decision)[sample.chosen]), propensity=0.9)
        for sample in samples
    ]
    found = estimate(policy, exact, exploration=0.0)
    best = [
        predicted_delay_s(s.decision)[int(policy.probabilities(s.decision.rows, s.decision.latent_action).argmax())]
        for s in samples
    ]
    assert found.doubly_robust_s == pytest.approx(np.mean(best))


def test_a_log_without_any_choice_of_the_policy_gives_no_importance_sampling_estimate(samples, policy):
    def chosen_by_the_policy(sample):
        return int(policy.probabilities(sample.decision.rows, sample.decision.latent_action).argmax())

    others = [sample for sample in samples if sample.chosen != chosen_by_the_policy(sample)]
    found = estimate(policy, others, exploration=0.0)
    assert (found.snips_s, found.effective) == (None, 0.0)
    assert np.isfinite(found.doubly_robust_s)
