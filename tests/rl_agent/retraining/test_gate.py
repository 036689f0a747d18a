from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from policies import policy_files

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.rules import RULES, make_rule
from rl_agent.policy.file import parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import PATIENT
from rl_agent.retraining.budget import Phase, RoundBudget
from rl_agent.retraining.gate import ALL_RULES, MIN_BATCH_JOBS, Gate, PlannerSettings, batch_sums, compare, play

PLANNER = PlannerSettings(window=2, ageing=2.0, lookahead=8)


def served():
    return LearnedPlacer(policy=parse_policy("v", policy_files("v", rule=PATIENT)))


def gate(serving, scenario, *candidates):
    return Gate(serving, candidates, [scenario], Estimates(), PLANNER)


def rule(name):
    return lambda: RULES[name](seed=0)


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
    for _ in range(40):
        mine, theirs = generator.exponential(5.0, (2, 1, 20 * MIN_BATCH_JOBS))
        passed += not compare("rival", mine, theirs).is_worse
    assert passed <= 4


def test_a_policy_as_good_as_the_rule_it_plays_passes(scenario):
    trial = gate(served, scenario, served).judge(0)
    assert trial.serving.ratio == 1.0
    assert trial.jobs == len(scenario.jobs)


def test_where_what_was_learnt_fails_the_next_candidate_is_promoted_if_it_beats_what_serves(busy):
    joint = rule("joint-completion")
    assert gate(rule("round-robin"), busy, rule("random"), joint).first_to_pass()[0] == 1
    index, trial = gate(joint, busy, rule("random"), joint).first_to_pass()
    assert (index, trial.is_passed) == (0, False)


@pytest.mark.parametrize("name", ["random", "round-robin"])
def test_a_bad_policy_is_rejected_with_the_numbers(scenario, name):
    trial = gate(served, scenario, rule(name)).judge(0)
    assert not trial.is_passed
    assert trial.reason.startswith("rejected at the gate")
    assert trial.to_json()["passed"] is False


def test_pure_noise_that_is_correlated_from_job_to_job_does_not_pass_either():
    generator = np.random.default_rng(2)
    passed = 0
    for _ in range(40):
        noise = np.zeros((2, 600))
        for job in range(1, 600):
            noise[:, job] = 0.95 * noise[:, job - 1] + generator.normal(0.0, 0.3, 2)
        mine, theirs = np.exp(noise)
        passed += not compare("rival", [mine] * 6, [theirs] * 6).is_worse  # six repeats tell no more than one
    assert passed <= 4


def test_batches_are_stretches_of_all_repeats_together_or_scenarios_that_differ_in_length():
    assert batch_sums([np.ones(200), np.ones(200)]).tolist() == [40.0] * 10
    assert batch_sums([np.ones(20), 2 * np.ones(20)]).tolist() == [15.0] * 4
    assert batch_sums([np.ones(n) for n in range(1, 21)]).sum() == 210.0


@pytest.mark.parametrize("name", ["joint-completion", "patient-completion"])
def test_rules_in_the_joint_order_play_at_the_planner_s_ageing(favourable, name):
    planner = replace(PLANNER, joint_ageing=50.0)
    own = partial(make_rule, name, 50.0)
    trial = Gate(own, [partial(make_rule, name, 0.15)], [favourable], Estimates(), planner).judge(0)
    assert trial.rules[name].rival_s == trial.serving.rival_s  # the rule is what serves, which ages so, too
    assert trial.rules[name].rival_s != trial.rules[name].candidate_s


def test_the_gate_hands_over_as_the_planner_does(favourable):
    patient = partial(make_rule, "patient-completion", 0.15)
    at_once = play(patient(), favourable, Estimates(), replace(PLANNER, handover_s=math.inf))
    assert (at_once != play(patient(), favourable, Estimates(), PLANNER)).any()


def test_a_rule_wins_that_beats_what_serves_and_what_would_serve_and_no_other(scenario):
    bad = gate(rule("round-robin"), scenario)
    win = bad.winning_rule()
    assert win.rule in {one.name for one in ALL_RULES}
    assert win.reason.startswith(f"the rule {win.rule} wins at the gate")
    assert win.to_json()["the serving policy"]["high"] < 1.0
    assert gate(rule("round-robin"), scenario, rule(win.rule)).winning_rule(0) is None
    assert gate(rule(win.rule), scenario).winning_rule() is None


class Over(Phase):
    """Is over after so many decisions."""

    def __init__(self, decisions):
        super().__init__(RoundBudget(1e9), "at the gate", 1.0)
        self.left = decisions

    def goes_on(self):
        self.left -= 1
        return self.left > 0


def test_when_the_time_is_over_the_scenarios_that_were_played_to_the_end_count(scenario):
    def played(decisions):
        return Gate(served, [served], [scenario, scenario, scenario], Estimates(), PLANNER, Over(decisions))

    whole = played(10**9)
    assert whole.scenarios == 3
    assert whole.judge(0).jobs == 3 * len(scenario.jobs)
    cut = played(15 * len(scenario.jobs))  # six placers ask about once for each job
    assert cut.scenarios in (1, 2)
    assert cut.judge(0).jobs == cut.scenarios * len(scenario.jobs)
    assert played(5).scenarios == 0
