from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th

from rl_agent.edge_offloading import rules
from rl_agent.edge_offloading.features import Column
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.ladts import LADTS
from rl_agent.reproduction.evaluation import OFFLOADING_RULES, evaluation_arrivals, play, summarize
from rl_agent.reproduction.learners import LEARNERS, steps_per_update

SMALL = OffloadingScenario(n_servers=4, n_tasks=6, n_slots=5)


def test_a_network_that_disagrees_does_not_make_lad_ts_at_slot_start_leave_the_plan() -> None:
    # Given a policy whose network was moved far from zero, though not to where float32 cannot tell its bound from 1
    model = LEARNERS["LAD-TS, slot start"].build(SMALL, seed=3, n_episodes=2)
    assert isinstance(model, LADTS)
    with th.no_grad():
        for parameter in model.actor.parameters():
            parameter.normal_(std=1.0)
    tasks = evaluation_arrivals(SMALL, 5, 2)
    env = EdgeOffloadingVecEnv(SMALL, 2, "slot_start")
    env.seed(0)
    observation = env.reset()
    score = observation[..., Column.SCORE]
    _, probabilities = model.policy.decide(observation, score, deterministic=True)
    assert np.ptp(np.log(probabilities), axis=1).min() < 9.0  # the scores alone lie 10 apart
    # When it plays, then it plays the common plan
    plan = OFFLOADING_RULES["common plan from slot start"](tasks, np.random.default_rng(0))
    np.testing.assert_allclose(play(model, tasks, "slot_start"), plan, atol=1e-6)


def test_untrained_lad_ts_is_opt_ts_and_planners_order_beats_it() -> None:
    scenario = OffloadingScenario(n_servers=6, n_tasks=40, n_slots=10)
    learner = LEARNERS["LAD-TS"]
    model: Any = learner.build(scenario, 1, 2)
    tasks = evaluation_arrivals(scenario, 1, 2)
    baseline = rules.greedy(tasks)
    np.testing.assert_allclose(play(model, tasks, learner.observation), baseline, atol=1e-6)
    ordered = summarize(play(model, tasks, learner.observation, ageing_gcycles_per_s=2.0), baseline)
    assert ordered.mean_ratio < 1.0


def test_trained_policy_reacts_to_backlog() -> None:
    """Given a trained policy without a rule's score to lean on, when its backlogs are hidden, then it does worse."""
    scenario = OffloadingScenario(n_servers=5, n_tasks=20, n_slots=8)
    learner = LEARNERS["SAC-TS"]
    model: Any = learner.build(scenario, 1, 20, learning_starts=200)
    model.learn(16_000)
    tasks = evaluation_arrivals(scenario, 1, 6)
    baseline = rules.greedy(tasks)
    ratio = {
        distortion: summarize(play(model, tasks, "in_slot", distortion=distortion), baseline).mean_ratio  # type: ignore[arg-type]
        for distortion in ("none", "zero", "shuffle")
    }
    assert ratio["none"] < 0.8 * min(ratio["zero"], ratio["shuffle"])


@pytest.mark.parametrize("name", ["LAD-TS", "DQN-TS"])
def test_models_of_two_seeds_train_on_arrivals_of_their_own(name: str) -> None:
    works = []
    for seed in (1, 2):
        model = LEARNERS[name].build(SMALL, seed, 20)
        env: Any = model.get_env()
        env.reset()
        works += [row[~np.isnan(row)].tobytes() for row in env.core.tasks.work]
    assert len(set(works)) == 40


def test_decisions_per_update_do_not_depend_on_the_number_of_parallel_episodes() -> None:
    assert [n_envs * steps_per_update(800, n_envs) for n_envs in (1, 4, 20)] == [800, 800, 800]
    assert steps_per_update(1, 20) == 1
