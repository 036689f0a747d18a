"""LADTS as a stable-baselines3 algorithm: what its users expect, and the mistakes no upstream test catches."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from small_ladts import SMALL, build, environment
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from rl_agent import ladts
from rl_agent.edge_offloading.features import layout
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.policies import D2SACPolicy, LADTSPolicy, SACTSPolicy

POLICIES = ["LADTSPolicy", "D2SACPolicy", "SACTSPolicy"]


def test_the_package_exports_the_algorithm_and_its_policies() -> None:
    assert ladts.__all__ == ["D2SACPolicy", "LADTS", "LADTSPolicy", "SACTSPolicy"]
    assert [ladts.LADTS, ladts.D2SACPolicy, ladts.LADTSPolicy, ladts.SACTSPolicy] == [
        LADTS,
        D2SACPolicy,
        LADTSPolicy,
        SACTSPolicy,
    ]
    assert not hasattr(ladts, "DQN")


class Bandit(gym.Env[np.ndarray, np.int64]):
    """The best of three nodes is the one whose second column is highest; one step per episode."""

    observation_space = spaces.Box(0.0, 1.0, (3, 2), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.rows = np.ones((3, 2), dtype=np.float32)
        self.rows[:, 1] = self.np_random.random(3)
        return self.rows, {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.rows, float(self.rows[action, 1]), True, False, {}


@pytest.mark.parametrize("network", ["shared", "flat"])
@pytest.mark.parametrize("policy", POLICIES)
def test_learns_save_load_and_predicts_the_same(policy: str, network: str, tmp_path: Path) -> None:
    model = build(policy, policy_kwargs={"network": network}).learn(200)
    assert model.num_timesteps >= 200
    observation = environment().reset()
    before, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "model")
    loaded = LADTS.load(tmp_path / "model", env=environment())
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], before)
    for name, value in model.policy.state_dict().items():
        th.testing.assert_close(loaded.policy.state_dict()[name], value)
    assert loaded.log_ent_coef is not None
    th.testing.assert_close(loaded.log_ent_coef, model.log_ent_coef)
    loaded.learn(40, reset_num_timesteps=False)
    assert loaded.num_timesteps > model.num_timesteps


@pytest.mark.parametrize("policy", POLICIES)
def test_learns_a_contextual_bandit(policy: str) -> None:
    env = make_vec_env(Bandit, n_envs=8, seed=0)
    kwargs = {"layout": ObservationLayout(node=(1,), eligible=0), "net_arch": (16,), "critic_net_arch": (16,)}
    model = LADTS(
        policy,
        env,
        learning_rate=3e-3,
        critic_learning_rate=3e-3,
        gamma=0.0,
        learning_starts=200,
        batch_size=64,
        train_freq=1,
        ent_coef=0.02,
        seed=0,
        policy_kwargs=kwargs,
    )
    model.learn(8 * 350)
    mean, _ = evaluate_policy(model, make_vec_env(Bandit, seed=7), n_eval_episodes=200)
    assert mean > 0.70  # uniform 0.5, best 0.75


def test_saved_zip_holds_no_networks_or_latent_memory(tmp_path: Path) -> None:
    build().learn(60).save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
        members = set(archive.namelist())
    assert not {"actor", "critic", "critic_target", "policy", "replay_buffer", "_memory", "_starts"} & set(data)
    assert {"policy.pth", "actor.optimizer.pth", "critic.optimizer.pth", "ent_coef_optimizer.pth"} <= members


@pytest.mark.parametrize("nodes", [2, 20, 50])
def test_target_entropy_can_be_reached(nodes: int) -> None:
    env = EdgeOffloadingVecEnv(OffloadingScenario(n_servers=nodes, n_tasks=2, n_slots=2), 1, "in_slot")
    model = LADTS("LADTSPolicy", env, policy_kwargs=SMALL)
    assert 0 < model.target_entropy_nats < math.log(nodes)


def test_entropy_coefficient_rises_below_its_target_and_falls_above() -> None:
    for share, rises in ((0.999, True), (0.001, False)):
        model = build(target_entropy_share=share, ent_coef="auto_0.1", policy_kwargs={"latent_action": "score"})
        model.learn(400)
        assert model.log_ent_coef is not None
        assert (model.log_ent_coef.exp().item() > 0.1) is rises


def test_only_eligible_nodes_are_chosen_while_exploring_and_after() -> None:
    env = EdgeOffloadingVecEnv(
        OffloadingScenario(n_servers=3, n_tasks=40, n_slots=3), 2, "in_slot", ageing_gcycles_per_s=1.0
    )
    LADTS(
        "LADTSPolicy", env, learning_starts=150, policy_kwargs={"layout": layout(env.scenario, "in_slot"), **SMALL}
    ).learn(400)


def test_same_seed_learns_the_same_and_another_does_not() -> None:
    first, second, other = (build(seed=seed).learn(200).policy.parameters_to_vector() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_callbacks_evaluation_and_tensorboard_work(tmp_path: Path) -> None:
    callbacks = [
        EvalCallback(environment(1), n_eval_episodes=1, eval_freq=40, verbose=0, warn=False),
        CheckpointCallback(save_freq=40, save_path=str(tmp_path / "checkpoints")),
    ]
    build(n_envs=2, tensorboard_log=str(tmp_path / "board")).learn(200, callback=callbacks, log_interval=1)  # type: ignore[arg-type]
    assert list((tmp_path / "checkpoints").glob("*.zip"))
    assert list((tmp_path / "board").glob("LADTS_1/events*"))
    assert np.isfinite(callbacks[0].last_mean_reward)  # type: ignore[attr-defined]


def test_set_parameters_round_trips_and_refuses_missing_ones() -> None:
    model, other = build(seed=1), build(seed=2)
    other.set_parameters(model.get_parameters())
    np.testing.assert_array_equal(other.policy.parameters_to_vector(), model.policy.parameters_to_vector())
    parameters = model.get_parameters()
    del parameters["critic.optimizer"]
    with pytest.raises(ValueError, match="critic"):
        other.set_parameters(parameters)


def test_refused_arguments_say_why() -> None:
    with pytest.raises(ValueError, match="optimize_memory_usage"):
        build(optimize_memory_usage=True)
    with pytest.raises(ValueError, match="latent_action"):
        build(policy_kwargs={"latent_action": "previous"})
    for ent_coef in ("often", "autofoo", "auto_0", "auto_x", -0.1):
        with pytest.raises(ValueError, match="ent_coef"):
            build(ent_coef=ent_coef)
    for name in ("target_entropy", "reward_scale"):
        with pytest.raises(ValueError, match=name):
            build(**{name: "foo"})
    with pytest.raises(ValueError, match="target_entropy_share"):
        build(target_entropy_share=5)
    with pytest.raises(ValueError, match="learning_rate begins at 0"):
        build(learning_rate=lambda progress: (1 - progress) * 1e-3)
    with pytest.raises(ValueError, match="single one"):
        build(policy_kwargs={"net_arch": (8, 16)})
    with pytest.raises(ValueError, match="scores"):
        build(policy_kwargs={"prediction": "scored", "layout": ObservationLayout(node=(8, 9))})
    with pytest.raises(ValueError, match="keeps no latent actions"):
        build(replay_buffer_class=None)
    with pytest.raises(ValueError, match="n_steps=3"):
        build(n_steps=3)


@pytest.mark.parametrize("ent_coef", ["auto", 1.5])
def test_large_entropy_coefficients_stay_numbers_where_nodes_are_ineligible(ent_coef: str | float) -> None:
    env = EdgeOffloadingVecEnv(
        OffloadingScenario(n_servers=3, n_tasks=40, n_slots=3), 2, "in_slot", ageing_gcycles_per_s=1.0
    )
    model = LADTS("LADTSPolicy", env, learning_starts=20, ent_coef=ent_coef, policy_kwargs=SMALL).learn(300)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@pytest.mark.parametrize("keep_latents", [False, True])
def test_learning_anew_forgets_the_jobs_of_the_episodes_before_unless_told_to_keep(keep_latents: bool) -> None:
    model = build(policy_kwargs={"keep_latents": keep_latents}).learn(100)
    marked = model.latent_memory
    assert marked is not None
    marked[:, -1] = 7.0  # the last task of an episode, far from its beginning
    model.learn(4)
    assert model.latent_memory is not None
    assert (model.latent_memory[:, -1] == 7.0).all() == keep_latents


@pytest.mark.parametrize("make", [lambda: environment(), lambda: gym.make("EdgeOffloading-v0", n_servers=4)])
def test_the_environment_says_what_its_columns_mean(make: Any) -> None:
    env = make()
    model = LADTS("LADTSPolicy", env, policy_kwargs=SMALL)
    assert model.policy.layout == (env.get_wrapper_attr("layout") if isinstance(env, gym.Env) else env.layout)


def test_normalizing_columns_that_are_read_as_they_are_is_refused() -> None:
    with pytest.raises(ValueError, match="norm_obs=False"):
        LADTS("LADTSPolicy", VecNormalize(environment()), policy_kwargs=SMALL).learn(10)
    LADTS("LADTSPolicy", VecNormalize(environment(), norm_obs=False), policy_kwargs=SMALL).learn(10)
