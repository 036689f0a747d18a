from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files

from rl_agent.policy_file import parse_policy
from rl_agent.retraining.gate import Rules
from rl_agent.retraining.practice import Plan, Practice
from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.twin import fit_twin

RULES = Rules(window=2, ageing=2.0, lookahead=8)
SMALL = Plan(
    trials=5, searched=2, decisions=200, round_decisions=100, episode_jobs=40, episodes=3, validations=2, repeats=2
)


@pytest.fixture
def samples(explored):
    return check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)])


def practice(samples, tmp_path, files, plan=SMALL):
    twin = fit_twin(samples.kept)
    return Practice(twin, parse_policy("v", files), RULES, plan, tmp_path / "checkpoint", lambda _what, _share: None)


def test_held_out_arrivals_are_not_learnt_from(samples, tmp_path):
    of_gate = practice(samples, tmp_path, policy_files("v"))
    held_out = {job.name for scenario in of_gate.held_out() for job in scenario.jobs}
    learnt = {job.name for scenario in of_gate._episodes + of_gate._searched for job in scenario.jobs}
    learnt |= {job.name for scenario in of_gate._validations for job in scenario.jobs}
    assert held_out
    assert not held_out & learnt


def test_a_perverse_policy_is_left_for_the_rule(samples, tmp_path):
    best = practice(samples, tmp_path, policy_files("v", perverse=True)).run(samples)
    assert best is not None


def test_each_find_and_each_round_is_validated(samples, tmp_path):
    learning = practice(samples, tmp_path, policy_files("v", scale=0.3))
    learning.run(samples)
    assert [entry["decisions"] for entry in learning.rounds if "decisions" in entry] == [100, 200]
    assert all(entry["mean_delay_s"] > 0.0 for entry in learning.rounds)


def test_a_new_round_takes_the_critics_of_the_last_one_and_not_its_actor(samples, tmp_path):
    # Given the checkpoint of a round
    first = practice(samples, tmp_path, policy_files("v", scale=0.3))
    first.run(samples)
    kept = {name: tensor.numpy().copy() for name, tensor in first._kept.items()}
    # When the next one, for another policy, makes one round of decisions
    plan = Plan(**{**vars(SMALL), "trials": 0, "decisions": 100})
    following = practice(samples, tmp_path, policy_files("other", scale=0.3, seed=9), plan)
    following.run(samples)
    # Then its critics are near those of the first, and its actor is near its own policy
    after = {name: tensor.numpy() for name, tensor in following._kept.items()}
    critic = [name for name in kept if name.startswith("critic.q_networks") and name.endswith("row.weight")]
    assert critic
    for name in critic:
        assert np.abs(after[name] - kept[name]).max() < 0.1
    actor = next(name for name in kept if name.startswith("actor") and name.endswith("row.weight"))
    assert np.abs(after[actor] - kept[actor]).max() > 0.1
