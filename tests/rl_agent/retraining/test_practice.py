from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from policies import policy_files

from rl_agent.experience.decision import Decision, decode, encode
from rl_agent.policy.file import parse_policy
from rl_agent.retraining.budget import VALIDATED_BY, RoundBudget
from rl_agent.retraining.checkpoint import read_checkpoint, write_checkpoint
from rl_agent.retraining.gate import PlannerSettings
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.practice import TRIALS_PER_SAVE, Practice, plain_rules
from rl_agent.retraining.samples import check_rows
from rl_agent.retraining.split import split_arrivals
from rl_agent.retraining.twin import fit_twin

PLANNER = PlannerSettings(window=2, ageing=2.0, lookahead=8)
SMALL = RetrainingPlan(
    trials=5, searched=2, decisions=200, round_decisions=100, episode_jobs=40, episodes=3, validations=2, repeats=2
)


@pytest.fixture
def samples(explored):
    return check_rows([{**row, "id": number} for number, row in enumerate(explored, 1)])


class Round:
    """One round on `samples` that keeps its checkpoint in `folder`."""

    def __init__(self, samples, folder, files, plan=SMALL, progress=lambda _what, _share: None, seconds=600.0):
        self.samples = samples
        self.path = folder / "checkpoint"
        self.serving = parse_policy("v", files)
        self.twin = fit_twin(samples.kept)
        self.split = split_arrivals(self.twin, plan)
        save = partial(write_checkpoint, self.path)
        budget = RoundBudget(seconds, progress)
        self.practice = Practice(self.twin, self.split, self.serving, PLANNER, plan, save, budget)

    def run(self):
        return self.practice.run(self.samples, read_checkpoint(self.path))

    @property
    def validated(self):
        return list(self.practice.state.rounds)


def test_a_perverse_policy_is_left_for_the_rule(samples, tmp_path):
    best = Round(samples, tmp_path, policy_files("v", perverse=True)).run()
    assert best is not None


def test_learning_goes_on_from_the_rule_that_does_best_in_the_twin(samples, tmp_path):
    found = Round(samples, tmp_path, policy_files("v", perverse=True))
    learning = found.practice
    learning.prepare(samples.last_id)
    delay_s = {p.card.rule: learning.mean_delay_s(p, found.split.validation) for p in plain_rules(found.serving)}
    assert len(delay_s) == 3
    assert learning.state.rule == min(delay_s, key=delay_s.get)
    card = learning.run(samples).card
    assert card.rule == learning.state.rule


def test_each_find_and_each_round_is_validated(samples, tmp_path):
    learning = Round(samples, tmp_path, policy_files("v", scale=0.3))
    learning.run()
    assert [entry["decisions"] for entry in learning.validated if "decisions" in entry] == [100, 200]
    assert all(entry["mean_delay_s"] > 0.0 for entry in learning.validated)


def test_a_search_that_was_killed_goes_on_where_it_was(samples, tmp_path):
    # Given a round that was killed while it searched
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 2 * TRIALS_PER_SAVE, "decisions": 100})

    def kill(what, share):
        if what == "searching in the twin" and share > 0.75:
            raise KeyboardInterrupt

    killed = Round(samples, tmp_path, policy_files("v", scale=0.3), plan, kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    # When the next one takes it up
    told = []
    files = policy_files("v", scale=0.3)
    following = Round(samples, tmp_path, files, plan, lambda what, share: told.append((what, share)))
    following.run()
    # Then it searches from there on, keeps what was found, and learns
    assert TRIALS_PER_SAVE / plan.trials == 0.5
    assert min(share for what, share in told if what.startswith("searching") and share > 0.0) >= 0.5
    assert following.validated[: len(killed.validated)] == killed.validated
    assert following.validated[-1]["decisions"] == 100


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
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 0})
    learning = Round(samples, tmp_path, policy_files("v", scale=0.3), plan)
    learning.run()
    # Then the twin has the nodes that are there
    assert {node.name for node in learning.twin.nodes} == {row["node"] for row in explored}
    assert [entry["decisions"] for entry in learning.validated] == [100, 200]


def test_a_new_round_takes_the_critics_of_the_last_one_and_not_its_actor(samples, tmp_path):
    # Given the checkpoint of a round
    first = Round(samples, tmp_path, policy_files("v", scale=0.3))
    first.run()
    kept = {name: tensor.numpy().copy() for name, tensor in first.practice.state.learner.items()}
    # When the next one, for another policy, makes one round of decisions
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 0, "decisions": 100})
    following = Round(samples, tmp_path, policy_files("other", scale=0.3, seed=9), plan)
    following.run()
    # Then its critics are near those of the first, and its actor is near its own policy
    after = {name: tensor.numpy() for name, tensor in following.practice.state.learner.items()}
    critic = [name for name in kept if name.startswith("critic.q_networks") and name.endswith("row.weight")]
    assert critic
    for name in critic:
        assert np.abs(after[name] - kept[name]).max() < 0.1
    actor = next(name for name in kept if name.startswith("actor") and name.endswith("row.weight"))
    assert np.abs(after[actor] - kept[actor]).max() > 0.1


class Hurried(RoundBudget):
    """Its time passes with every question: `questions` of them are a whole round."""

    def __init__(self, questions):
        super().__init__(1e9)
        self.questions = questions
        self.asked = 0

    @property
    def spent(self):
        self.asked += 1
        return self.asked / self.questions


def hurried(samples, folder, questions):
    """A round that has no time for its plan, and what remains of it."""
    plan = RetrainingPlan(**{**vars(SMALL), "trials": 10**6, "decisions": 10**6})
    found = Round(samples, folder, policy_files("v", perverse=True), plan, seconds=1e9)
    save = partial(write_checkpoint, found.path)
    budget = Hurried(questions)
    return found, Practice(found.twin, found.split, found.serving, PLANNER, plan, save, budget), budget


def test_when_its_time_is_over_it_stops_in_between_and_keeps_what_was_validated(samples, tmp_path):
    # Given a plan that cannot be done in its time
    found, practice, budget = hurried(samples, tmp_path, questions=40_000)
    # When it practises
    practice.run(samples)
    # Then it has searched and learned, and left the gate its time
    state = practice.state
    assert state.trials > 0
    assert state.decisions > 0
    assert budget.spent < VALIDATED_BY + 0.05
    # And what it keeps does on the validations what it says
    assert all(entry["mean_delay_s"] >= state.best_s - 1e-4 for entry in state.rounds)
    assert found.practice.mean_delay_s(practice.best, found.split.validation) == pytest.approx(state.best_s)


def test_without_time_to_measure_the_serving_policy_nothing_is_learnt(samples, tmp_path):
    _, practice, _ = hurried(samples, tmp_path, questions=200)
    assert practice.run(samples) is None
    assert (practice.state.trials, practice.state.decisions) == (0, 0)
