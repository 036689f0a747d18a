from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.rules import RULES
from rl_agent.policy.file import parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.retraining.gate import BLOCK_JOBS, PlannerSettings, Trial, compare, first_to_pass, judge

PLANNER = PlannerSettings(window=2, ageing=2.0, lookahead=8)


def served():
    return LearnedPlacer(policy=parse_policy("v", policy_files("v")))


def test_equal_delays_are_not_worse():
    delays = [np.random.default_rng(0).exponential(5.0, 200)]
    found = compare("itself", delays, delays)
    assert (found.ratio, found.low, found.high) == (1.0, 1.0, 1.0)
    assert not found.is_worse


def test_a_clear_difference_is_seen_either_way():
    generator = np.random.default_rng(0)
    theirs = [generator.exponential(5.0, 400)]
    assert compare("rival", [1.2 * theirs[0]], theirs).is_worse
    better = compare("rival", [0.8 * theirs[0]], theirs)
    assert not better.is_worse
    assert better.high < 1.0


def test_a_better_mean_of_pure_noise_does_not_pass():
    generator = np.random.default_rng(1)
    passed = 0
    for seed in range(40):
        mine, theirs = generator.exponential(5.0, (2, 1, 20 * BLOCK_JOBS))
        passed += not compare("rival", mine, theirs, seed).is_worse
    assert passed <= 4


def test_a_policy_as_good_as_the_rule_it_plays_passes(scenario):
    trial = judge(served, served, [scenario], Estimates(), PLANNER)
    assert trial.serving.ratio == 1.0
    assert trial.jobs == len(scenario.jobs)


def test_where_what_was_learnt_fails_the_next_candidate_is_promoted_if_it_beats_what_serves(favourable):
    random, bad = (lambda: RULES["random"](seed=0)), (lambda: RULES["round-robin"](seed=0))
    assert first_to_pass([random, served], bad, [favourable], Estimates(), PLANNER)[0] == 1
    index, trial = first_to_pass([random, served], served, [favourable], Estimates(), PLANNER)
    assert (index, trial.is_passed) == (0, False)


@pytest.mark.parametrize("name", ["random", "round-robin"])
def test_a_bad_policy_is_rejected_with_the_numbers(scenario, name):
    trial = judge(lambda: RULES[name](seed=0), served, [scenario], Estimates(), PLANNER)
    assert not trial.is_passed
    assert trial.reason.startswith("rejected at the gate")
    assert trial.to_json()["passed"] is False


@pytest.mark.parametrize(("joint_s", "is_advised"), [(5.0, True), (9.0, False)])
def test_a_rule_that_reorders_is_recommended_where_it_wins_but_rejects_nobody(joint_s, is_advised):
    rivals = {"the serving policy": 8.0, "priced-completion": 8.0, "joint-completion": joint_s}
    mine = [np.full(100, 8.0)]
    serving, best, reordering = (compare(name, mine, [np.full(100, delay_s)]) for name, delay_s in rivals.items())
    trial = Trial(jobs=100, serving=serving, best_rule=best, reordering_rule=reordering)
    assert trial.is_passed
    assert ("LADLE_PLACER=joint-completion would do better than both policies" in trial.reason) == is_advised
    assert trial.to_json()["joint-completion"]["rival_s"] == joint_s
