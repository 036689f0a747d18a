from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from policies import policy_files
from small_round import SMALL

from broker_config.settings import Settings
from rl_agent.placing.rules import RULES
from rl_agent.policy.file import parse_policy
from rl_agent.retraining.candidates import Candidates
from rl_agent.retraining.gate import Gate, PlannerSettings
from rl_agent.retraining.inputs import RoundInputs
from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.twin import fit_twin

PLANNER = PlannerSettings(window=2, ageing=2.0, lookahead=8)
ROUNDS = [{"decisions": 200, "mean_delay_s": 5.0}]


@pytest.fixture
def inputs(explored):
    """Those of a site that a policy of a rule serves."""
    start = parse_policy("serving", policy_files("serving"))
    samples = check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)])
    return RoundInputs(
        version=None, served=start, start=start, samples=samples, saved=None, outcomes=120, processor_s=1.0
    )


def judged(inputs, learnt, serving, scenario):
    """The verdicts where such a rule serves."""
    twin = fit_twin(inputs.samples.kept)
    candidates = Candidates(inputs, twin, SMALL, Settings(_env_file=None), learnt)
    gate = Gate(lambda: RULES[serving](seed=0), candidates.placers, [scenario], twin.estimates, PLANNER)
    return candidates.verdicts(gate, ROUNDS)


def test_where_nothing_was_learnt_and_no_rule_wins_there_is_no_verdict(inputs, scenario):
    assert judged(inputs, None, "joint-completion", scenario) == []


def test_a_rule_that_wins_is_a_policy_that_plays_it(inputs, scenario):
    (verdict,) = judged(inputs, None, "round-robin", scenario)
    assert verdict.is_passed
    assert "wins at the gate" in verdict.reason
    assert parse_policy(verdict.version, verdict.files).card.plays in RULES


def test_what_was_learnt_says_where_it_comes_from_and_what_it_is_worth(inputs, scenario):
    learnt = parse_policy("x", policy_files("x", scale=0.01))
    verdict = judged(inputs, learnt, "joint-completion", scenario)[0]
    training = parse_policy(verdict.version, verdict.files).card.training
    assert training["from"] == "x" or training["from"] == "serving"
    assert training["rounds"] == ROUNDS
    assert training["experience"]["kept"] == len(inputs.samples.kept)
    assert verdict.trial["off_policy"].keys() == {"candidate", "serving"}
    assert np.isfinite(verdict.trial["off_policy"]["candidate"]["logged_s"])


def test_where_a_rule_is_better_than_what_was_learnt_both_are_kept_and_the_rule_decides(inputs, scenario):
    learnt = parse_policy("x", policy_files("x", perverse=True))
    bad = dataclasses.replace(inputs, start=parse_policy("bad", policy_files("bad", perverse=True)))
    verdicts = judged(bad, learnt, "round-robin", scenario)
    assert [verdict.is_passed for verdict in verdicts][-1:] == [True]
    assert all(not verdict.is_passed for verdict in verdicts[:-1])


def test_without_a_policy_that_can_be_read_the_shipped_one_is_a_candidate(inputs, scenario):
    unread = dataclasses.replace(inputs, served=None)
    verdicts = judged(unread, None, "round-robin", scenario)
    assert verdicts[0].version.startswith("retrained-")
