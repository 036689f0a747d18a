from __future__ import annotations

import numpy as np
import pytest
from policies import policy_files

from rl_agent.experience.decision import Decision, decode, encode
from rl_agent.policy.file import parse_policy
from rl_agent.retraining.gate import PlannerSettings
from rl_agent.retraining.practice import TRIALS_PER_SAVE, Practice, RetrainingPlan
from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.twin import fit_twin

RULES = PlannerSettings(window=2, ageing=2.0, lookahead=8)
SMALL = RetrainingPlan(
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


def test_learning_goes_on_from_the_rule_that_does_best_in_the_twin(samples, tmp_path):
    learning = practice(samples, tmp_path, policy_files("v", perverse=True))
    delay_s = {p.card.rule: learning._mean_delay_s(p, learning._validations) for p in learning.plain_rules}
    assert len(delay_s) == 2
    assert learning._card.rule == min(delay_s, key=delay_s.get)
    card = learning.run(samples).card
    assert card.rule == learning._card.rule


def test_each_find_and_each_round_is_validated(samples, tmp_path):
    learning = practice(samples, tmp_path, policy_files("v", scale=0.3))
    learning.run(samples)
    assert [entry["decisions"] for entry in learning.rounds if "decisions" in entry] == [100, 200]
    assert all(entry["mean_delay_s"] > 0.0 for entry in learning.rounds)


def test_a_search_that_was_killed_goes_on_where_it_was(samples, tmp_path):
    # Given a round that was killed while it searched
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 2 * TRIALS_PER_SAVE, "decisions": 100})
    killed = practice(samples, tmp_path, policy_files("v", scale=0.3), plan)

    def kill(_what, share):
        if share > 0.75:
            raise KeyboardInterrupt

    killed._progress = kill
    with pytest.raises(KeyboardInterrupt):
        killed.run(samples)
    # When the next one takes it up
    following = practice(samples, tmp_path, policy_files("v", scale=0.3), plan)
    told = []
    following._progress = lambda what, share: told.append((what, share))
    following.run(samples)
    # Then it searches from there on, keeps what was found, and learns
    assert told[0] == ("searching in the twin", TRIALS_PER_SAVE / plan.trials)
    assert following.rounds[: len(killed.rounds)] == killed.rounds
    assert following.rounds[-1]["decisions"] == 100


def test_nodes_that_left_or_finished_nothing_are_not_in_the_way(explored, tmp_path):
    # Given decisions that could have chosen a node which never finished anything, and a node of old that has left
    rows = []
    for number, row in enumerate(explored, 1):
        decision = decode(row["decision"])
        renamed = tuple("old" if name == row["node"] and number < 10 else name for name in decision.nodes)
        wider = Decision(
            nodes=("aaa-never", *renamed),
            rows=np.concatenate([decision.rows[:1], decision.rows]),
            latent_action=np.concatenate([decision.latent_action[:1], decision.latent_action]),
            probabilities=np.concatenate([[0.0], decision.probabilities]),
            standard_s=decision.standard_s,
        )
        node = "old" if number < 10 else row["node"]
        rows.append({**row, "id": number, "node": node, "decision": encode(wider)})
    samples = check_rows(rows)
    # When it is learnt from them
    learning = practice(samples, tmp_path, policy_files("v", scale=0.3), RetrainingPlan(**{**vars(SMALL), "trials": 0}))
    learning.run(samples)
    # Then the twin has the nodes that are there
    assert {node.name for node in learning.twin.nodes} == {row["node"] for row in explored}
    assert [entry["decisions"] for entry in learning.rounds] == [100, 200]


def test_a_new_round_takes_the_critics_of_the_last_one_and_not_its_actor(samples, tmp_path):
    # Given the checkpoint of a round
    first = practice(samples, tmp_path, policy_files("v", scale=0.3))
    first.run(samples)
    kept = {name: tensor.numpy().copy() for name, tensor in first._kept.items()}
    # When the next one, for another policy, makes one round of decisions
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 0, "decisions": 100})
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
