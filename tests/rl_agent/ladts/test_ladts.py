"""LADTS as a stable-baselines3 algorithm: what its users expect, and the mistakes no upstream test catches."""

from __future__ import annotations

import copy
import inspect
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
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from rl_agent import ladts
from rl_agent.edge_offloading.features import layout
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.actors import CategoricalActor, DiffusionActor
from rl_agent.ladts.buffers import LatentReplayBuffer
from rl_agent.ladts.critics import TwinCritic
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.policies import D2SACPolicy, LADTSPolicy, SACTSPolicy

SCENARIO = OffloadingScenario(n_servers=4, n_tasks=5, n_slots=3)
SMALL: dict[str, Any] = {"net_arch": (8,), "critic_net_arch": (8,), "n_denoising_steps": 3}
POLICIES = ["LADTSPolicy", "D2SACPolicy", "SACTSPolicy"]


def environment(n_envs: int = 2) -> EdgeOffloadingVecEnv:
    env = EdgeOffloadingVecEnv(SCENARIO, n_envs, "in_slot")
    env.seed(1)
    return env


def build(policy: str = "LADTSPolicy", n_envs: int = 2, **kwargs: Any) -> LADTS:
    policy_kwargs = {"layout": layout(SCENARIO, "in_slot"), **SMALL, **kwargs.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, "seed": 0, "train_freq": 4, **kwargs}
    return LADTS(policy, environment(n_envs), policy_kwargs=policy_kwargs, **arguments)


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


@pytest.mark.parametrize("part", [LADTSPolicy, DiffusionActor, CategoricalActor, TwinCritic])
def test_constructor_parameters_are_complete(part: type) -> None:
    policy = build("SACTSPolicy" if part is CategoricalActor else "LADTSPolicy").policy
    instance = {LADTSPolicy: policy, TwinCritic: policy.critic}.get(part, policy.actor)
    expected = set(inspect.signature(part.__init__).parameters) - {"self"}
    assert set(instance._get_constructor_parameters()) == expected


@pytest.mark.parametrize("policy_class", [LADTSPolicy, D2SACPolicy, SACTSPolicy])
def test_policy_saves_and_loads_alone(policy_class: type[LADTSPolicy], tmp_path: Path) -> None:
    policy = build(policy_class.__name__).policy
    policy.save(str(tmp_path / "policy.pt"))
    loaded = policy_class.load(str(tmp_path / "policy.pt"), device="cpu")
    observation = environment().reset()
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], policy.predict(observation, deterministic=True)[0]
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_deterministic_prediction_draws_no_noise(policy: str) -> None:
    model = build(policy)
    observation = environment().reset()
    state = th.get_rng_state(), np.random.get_state()[1].copy()
    model.predict(observation, deterministic=True)
    assert th.equal(th.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])


def test_untrained_policy_plays_the_rule_its_scores_come_from() -> None:
    model = build(policy_kwargs={"latent_action": "score"})
    env = environment()
    observation = env.reset()
    for _ in range(30):
        actions, _ = model.predict(observation, deterministic=True)
        np.testing.assert_array_equal(actions, observation[..., 1].argmax(axis=1))
        observation, *_ = env.step(actions)


def test_state_carries_the_latent_action_of_the_same_key() -> None:
    model = build(policy_kwargs={"latent_action": "carried"})
    observation = environment().reset()
    _, memory = model.predict(observation)
    key = int(observation[0, 0, 2])
    assert memory.shape == (2, SCENARIO.n_slots * 4 * 5, 4)
    assert not np.isnan(memory[0, key]).any()
    assert np.isnan(np.delete(memory[0], key, axis=0)).all()
    start = model.policy.recall(memory, observation)
    np.testing.assert_array_equal(start, memory[:, key])


def test_episode_start_forgets_unless_told_to_keep() -> None:
    observation = environment().reset()
    for keep in (False, True):
        model = build(policy_kwargs={"latent_action": "carried", "keep_latents": keep})
        _, memory = model.predict(observation)
        later = observation.copy()
        later[..., 2] += 1
        _, memory = model.predict(later, memory, np.array([True, False]))
        key = int(observation[0, 0, 2])
        assert np.isnan(memory[0, key]).all() == (not keep)
        assert not np.isnan(memory[1, key]).any()


def test_predict_updates_the_memory_it_was_given() -> None:
    model = build(policy_kwargs={"latent_action": "carried"})
    memory = model.policy.new_memory(2)
    _, returned = model.predict(environment().reset(), memory)
    assert returned is memory
    assert np.isfinite(memory).any()


def test_buffer_keeps_copies_of_both_starts_and_the_terminal_observation() -> None:
    """Given lanes with short episodes, then every stored next start belongs to the stored next observation."""
    model = build(n_envs=3, policy_kwargs={"latent_action": "score"}, gradient_steps=0)
    model.learn(300)
    buffer = model.replay_buffer
    assert isinstance(buffer, LatentReplayBuffer)
    size = buffer.pos
    np.testing.assert_array_equal(buffer.starts[:size], buffer.observations[:size, ..., 1])
    np.testing.assert_array_equal(buffer.next_starts[:size], buffer.next_observations[:size, ..., 1])
    ends = buffer.dones[:size].astype(bool)
    assert ends.any()
    assert (buffer.timeouts[:size][ends] == 1).all()
    following = buffer.observations[1:size]
    same = (following == buffer.next_observations[: size - 1]).all(axis=(2, 3))
    np.testing.assert_array_equal(same, ~ends[:-1])
    samples = buffer.sample(50)
    assert (samples.dones == 0).all()  # a truncated episode is not an end
    assert samples.starts.shape == (50, 4)


def test_carried_starts_are_stored_as_they_were_when_used() -> None:
    one_key = ObservationLayout(node=(8, 9), key=0, n_keys=1)
    model = build(n_envs=1, policy_kwargs={"latent_action": "carried", "layout": one_key})
    model.learn(100)
    buffer = model.replay_buffer
    assert isinstance(buffer, LatentReplayBuffer)
    ends = buffer.dones[: buffer.pos - 1, 0].astype(bool)
    continuous = (buffer.next_starts[: buffer.pos - 1, 0] == buffer.starts[1 : buffer.pos, 0]).all(axis=1)
    assert continuous[~ends].all()
    assert len(np.unique(buffer.starts[: buffer.pos, 0], axis=0)) > 50


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


def test_replay_buffer_saves_and_loads(tmp_path: Path) -> None:
    model = build().learn(60)
    model.save_replay_buffer(tmp_path / "buffer")
    other = build()
    other.load_replay_buffer(tmp_path / "buffer")
    assert isinstance(other.replay_buffer, LatentReplayBuffer)
    np.testing.assert_array_equal(other.replay_buffer.starts, model.replay_buffer.starts)  # type: ignore[union-attr]


def test_shared_policy_serves_other_node_counts_with_the_same_weights() -> None:
    small, large = build(), None
    scenario = OffloadingScenario(n_servers=11, n_tasks=5, n_slots=3)
    env = EdgeOffloadingVecEnv(scenario, 2, "in_slot")
    large = LADTS("LADTSPolicy", env, policy_kwargs={"layout": layout(scenario, "in_slot"), **SMALL})
    large.policy.load_state_dict(small.policy.state_dict())
    assert large.predict(env.reset())[0].shape == (2,)


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


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("prediction", ["scored", "residual", "sample", "epsilon", "softmax"])
@pytest.mark.parametrize("n_denoising_steps", [1, 5])
def test_acting_gives_the_probabilities_that_are_trained(
    prediction: str, deterministic: bool, n_denoising_steps: int
) -> None:
    """Given random weights, when they act and are trained on the same noise, then the probabilities are the same.

    Also after the weights were written in place, as updates do, and in a copy, whose parameters lie elsewhere.
    """
    kwargs = {"prediction": prediction, "n_denoising_steps": n_denoising_steps}
    model = build(policy_kwargs=kwargs)
    observation = environment(6).reset()
    start = th.randn(observation.shape[:2])
    for actor in (model.actor, model.actor, copy.deepcopy(model.actor)):
        for parameter in actor.parameters():
            parameter.data.copy_(0.5 * th.randn(parameter.shape))
        th.manual_seed(3)
        acted = actor.act(observation, start.numpy(), deterministic)
        th.manual_seed(3)
        with th.no_grad():
            trained = th.softmax(actor.logits(th.as_tensor(observation), start, deterministic), dim=1)
        np.testing.assert_allclose(acted, trained.numpy(), atol=1e-5)


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
