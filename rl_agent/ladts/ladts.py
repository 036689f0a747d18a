"""LAD-TS: discrete soft actor-critic with a latent-action diffusion actor."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import polyak_update, update_learning_rate

from rl_agent.ladts.actors import CategoricalActor, DiffusionActor
from rl_agent.ladts.buffers import LatentReplayBuffer
from rl_agent.ladts.critics import TwinCritic
from rl_agent.ladts.policies import D2SACPolicy, LADTSPolicy, SACTSPolicy

MIN_LOG_PROBABILITY = -1000.0
"""Its exponential is 0 in float32, and its product with an entropy coefficient is finite, which -inf times 0 is not."""


class LADTS(OffPolicyAlgorithm):
    """Latent action diffusion for task scheduling.

    Args:
        policy: ``LADTSPolicy``, ``D2SACPolicy`` or ``SACTSPolicy``, as class or by name.
        env: observations of shape (nodes, columns), Discrete(nodes) actions. Its ``layout`` attribute, if it has one,
            says which column means what, unless ``policy_kwargs`` does.
        learning_rate: of the actor; a number or a schedule.
        critic_learning_rate: of the critics; scaled by the same schedule.
        ent_coef_learning_rate: of the entropy coefficient; likewise.
        buffer_size, learning_starts, batch_size, tau, gamma, train_freq, gradient_steps, replay_buffer_class,
            replay_buffer_kwargs, stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device: as in
            stable-baselines3's ``SAC``.
        optimize_memory_usage, n_steps: only False and 1 are supported.
        reward_scale: multiplies rewards before the entropy term is added; "auto" is 1 - gamma, which makes values
            discounted averages in seconds instead of sums.
        ent_coef: entropy coefficient, "auto" or "auto_<initial value>".
        target_entropy: in nats; "auto" is ``target_entropy_share`` of the largest entropy, ln(nodes).
        target_entropy_share: between 0 and 1.
        explore_uniformly: choose eligible nodes uniformly before ``learning_starts``; False follows the policy from the
            first step, which is right when its first latent actions are a rule's scores.
        _init_setup_model: build the networks at once.

    Raises:
        ValueError: ``optimize_memory_usage`` or ``n_steps`` > 1, a buffer without latent actions, a bad ``ent_coef``,
            target entropy, reward scale or learning rate; in ``learn``, a ``VecNormalize`` that changes columns which
            are read as they are.

    Source: arXiv 2412.18212, algorithm 1; discrete SAC: arXiv 1910.07207.
    Differs: one agent for all stations; the target entropy can be reached (SAC's own "auto" is -1 for a Discrete space,
    below any entropy); next states are the ones that follow; a truncated episode is not an end.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "LADTSPolicy": LADTSPolicy,
        "D2SACPolicy": D2SACPolicy,
        "SACTSPolicy": SACTSPolicy,
    }
    policy: LADTSPolicy
    actor: DiffusionActor | CategoricalActor
    critic: TwinCritic
    critic_target: TwinCritic

    def __init__(
        self,
        policy: str | type[LADTSPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        critic_learning_rate: float = 1e-3,
        ent_coef_learning_rate: float = 3e-4,
        buffer_size: int = 50_000,
        learning_starts: int = 1_000,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.95,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        replay_buffer_class: type[ReplayBuffer] | None = LatentReplayBuffer,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        reward_scale: str | float = "auto",
        ent_coef: str | float = "auto_0.05",
        target_entropy: str | float = "auto",
        target_entropy_share: float = 0.1,
        explore_uniformly: bool = True,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if optimize_memory_usage or n_steps != 1:
            raise ValueError(
                f"optimize_memory_usage={optimize_memory_usage} and n_steps={n_steps} are not supported: "
                "every next observation has a latent action of its own; use False and 1"
            )
        if replay_buffer_class is None or not issubclass(replay_buffer_class, LatentReplayBuffer):
            raise ValueError(
                f"replay_buffer_class {replay_buffer_class} keeps no latent actions: use LatentReplayBuffer"
            )
        if not 0 <= target_entropy_share <= 1:
            raise ValueError(f"target_entropy_share is {target_entropy_share}: use a share between 0 and 1")
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            support_multi_env=True,
        )
        self.critic_learning_rate = critic_learning_rate
        self.ent_coef_learning_rate = ent_coef_learning_rate
        self.reward_scale = number_or_auto("reward_scale", reward_scale)
        self.ent_coef = ent_coef
        self.target_entropy = number_or_auto("target_entropy", target_entropy)
        self.target_entropy_share = target_entropy_share
        self.explore_uniformly = explore_uniformly
        self.log_ent_coef: th.Tensor | None = None
        self.ent_coef_optimizer: th.optim.Adam | None = None
        self._memory: NDArray[np.float32] | None = None
        self._starts: NDArray[np.float32] | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if "layout" not in self.policy_kwargs and self.env is not None and self.env.has_attr("layout"):
            self.policy_kwargs = {**self.policy_kwargs, "layout": self.env.get_attr("layout")[0]}
        super()._setup_model()
        if self.lr_schedule(1.0) <= 0:
            raise ValueError(
                "learning_rate begins at 0: the rates of critics and entropy coefficient follow it in proportion, "
                "so begin above 0"
            )
        self.actor = self.policy.actor
        self.critic = self.policy.critic
        self.critic_target = self.policy.critic_target
        self.ent_coef_optimizer = None
        if isinstance(self.ent_coef, str):
            initial = initial_ent_coef(self.ent_coef)
            self.log_ent_coef = th.log(th.full((1,), initial, device=self.device)).requires_grad_(True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.ent_coef_learning_rate)
        else:
            if self.ent_coef < 0:
                raise ValueError(f"ent_coef is {self.ent_coef}: use a number from 0")
            self.log_ent_coef = th.log(th.full((1,), float(self.ent_coef), device=self.device))

    @property
    def target_entropy_nats(self) -> float:
        """The entropy that the coefficient is tuned to, in nats."""
        if self.target_entropy == "auto":
            return self.target_entropy_share * float(np.log(self.action_space.n))  # type: ignore[attr-defined]
        return float(self.target_entropy)

    @property
    def reward_factor(self) -> float:
        """What rewards are multiplied by."""
        return 1 - self.gamma if self.reward_scale == "auto" else float(self.reward_scale)

    @property
    def latent_memory(self) -> NDArray[np.float32] | None:
        """The latent actions remembered in training: a ``state`` for ``predict``, shape (n_envs, keys, nodes)."""
        return self._memory

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, Any]:
        self._check_normalization()
        starts_anew = reset_num_timesteps or self._last_obs is None
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        is_of_other_episodes = starts_anew and not self.policy.keep_latents
        if self._memory is None or len(self._memory) != self.n_envs or is_of_other_episodes:
            self._memory = self.policy.new_memory(self.n_envs)
        self._starts = self.policy.recall(self._memory, self._current_observation())
        return result

    def _check_normalization(self) -> None:
        layout, normalize = self.policy.layout, self._vec_normalize_env
        if normalize is None or not normalize.norm_obs:
            return
        if any(column is not None for column in (layout.eligible, layout.score, layout.key)):
            raise ValueError(
                "VecNormalize would change eligibility, scores or keys, which are read as they are: "
                "use VecNormalize(..., norm_obs=False)"
            )

    def _current_observation(self) -> NDArray[np.float32]:
        return np.asarray(self._last_obs, dtype=np.float32)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Choose nodes from the chains' starts, and remember their probabilities."""
        assert self._memory is not None
        assert self._starts is not None
        observation = self._current_observation()
        chosen, probabilities = self.policy.decide(observation, self._starts)
        self.policy.remember(self._memory, observation, probabilities)
        if self.explore_uniformly and self.num_timesteps < learning_starts:
            chosen = self._uniform(observation)
        return chosen, chosen

    def _uniform(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        eligible = self.policy.layout.eligible
        weight = np.ones(observation.shape[:2]) if eligible is None else observation[..., eligible]
        chosen: NDArray[np.int64] = (np.random.random(weight.shape) * weight).argmax(axis=1)
        return chosen

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: NDArray[Any],
        new_obs: NDArray[Any] | dict[str, NDArray[Any]],
        reward: NDArray[Any],
        dones: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Store the transition with the latent actions at both of its ends."""
        assert isinstance(replay_buffer, LatentReplayBuffer)
        assert self._memory is not None
        assert self._starts is not None
        following = np.array(new_obs, dtype=np.float32)
        for e in np.flatnonzero(dones):
            following[e] = infos[e].get("terminal_observation", following[e])
        next_starts = self.policy.recall(self._memory, following)
        replay_buffer.pending = (self._starts, next_starts)
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        if dones.any():
            if not self.policy.keep_latents:
                self._memory[dones.astype(bool)] = np.nan
            next_starts = self.policy.recall(self._memory, self._current_observation())
        self._starts = next_starts

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Update entropy coefficient, critics and actor ``gradient_steps`` times.

        Source: arXiv 2412.18212, algorithm 1, with the losses of discrete SAC (arXiv 1910.07207): soft value eq. 10,
        entropy coefficient eq. 11, actor eq. 12.
        Differs: log alpha is learned instead of alpha, which so stays positive.
        """
        self.policy.set_training_mode(True)
        self._update_rates()
        assert isinstance(self.replay_buffer, LatentReplayBuffer)
        assert self.log_ent_coef is not None
        losses: dict[str, list[float]] = {"actor_loss": [], "critic_loss": [], "ent_coef": [], "entropy": []}
        for _ in range(gradient_steps):
            # A batch of (s, a, r, s'), with the latent action x_I from which the chain starts at s and at s'.
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)

            # The policy at s: pi(.|s) = softmax(x_0). One pass, for the loss of alpha and, further down, of the actor.
            ent_coef = self.log_ent_coef.detach().exp()
            log_pi = log_policy(self.actor.logits(data.observations, data.starts))
            pi = log_pi.exp()
            entropy = -(pi * log_pi).sum(dim=1)

            # Entropy coefficient: J(alpha) = log alpha * E[H(pi(.|s)) - target]; alpha grows while H is below target.
            if self.ent_coef_optimizer is not None:
                surplus = (entropy - self.target_entropy_nats).detach().mean()
                step(self.ent_coef_optimizer, (self.log_ent_coef * surplus).sum())

            # Soft value of s' and the critics' target:
            # y = r + gamma * (sum_a pi(a|s') min_j Q'_j(s',a) + alpha H(pi(.|s'))), with r scaled; r alone at an end.
            with th.no_grad():
                next_log_pi = log_policy(self.actor.logits(data.next_observations, data.next_starts))
                next_q = self.critic_target(data.next_observations).amin(dim=0) - ent_coef * next_log_pi
                next_value = (next_log_pi.exp() * next_q).sum(dim=1, keepdim=True)
                target = data.rewards * self.reward_factor + (1 - data.dones) * self.gamma * next_value

            # Critics: J(Q) = sum_j E[(Q_j(s,a) - y)^2] / 2, of the action that was taken.
            q = self.critic(data.observations)
            taken = q.gather(2, data.actions.long().expand(len(q), -1, -1))
            critic_loss = 0.5 * ((taken - target) ** 2).mean(dim=(1, 2)).sum()
            step(self.critic.optimizer, critic_loss)

            # Actor, through all denoising steps: J(pi) = E[-alpha H(pi(.|s)) - sum_a pi(a|s) min_j Q_j(s,a)].
            with th.no_grad():
                lowest_q = self.critic(data.observations).amin(dim=0)
            actor_loss = (pi * (ent_coef * log_pi - lowest_q)).sum(dim=1).mean()
            step(self.actor.optimizer, actor_loss)

            # Target critics: Q' = tau Q + (1 - tau) Q'.
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            for name, value in zip(losses, (actor_loss, critic_loss, ent_coef, entropy.mean()), strict=True):
                losses[name].append(value.item())
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, values in losses.items():
            self.logger.record(f"train/{name}", np.mean(values))

    def _update_rates(self) -> None:
        rate = self.lr_schedule(self._current_progress_remaining)
        self.logger.record("train/learning_rate", rate)
        scale = rate / self.lr_schedule(1.0)
        update_learning_rate(self.actor.optimizer, rate)
        update_learning_rate(self.critic.optimizer, self.critic_learning_rate * scale)
        if self.ent_coef_optimizer is not None:
            update_learning_rate(self.ent_coef_optimizer, self.ent_coef_learning_rate * scale)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "LADTS",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn for ``total_timesteps`` decisions, as every stable-baselines3 algorithm."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def predict(  # type: ignore[override]
        self,
        observation: NDArray[np.float32],
        state: NDArray[np.float32] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Choose nodes; ``state`` carries the latent actions and is updated in place, see ``LADTSPolicy.predict``."""
        return self.policy.predict(observation, state, episode_start, deterministic)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "actor", "critic", "critic_target", "_memory", "_starts"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts = ["policy", "actor.optimizer", "critic.optimizer"]
        if self.ent_coef_optimizer is not None:
            state_dicts.append("ent_coef_optimizer")
        return state_dicts, ["log_ent_coef"]


def log_policy(logits: th.Tensor) -> th.Tensor:
    """Return finite log-probabilities, shape (batch, nodes); below ``MIN_LOG_PROBABILITY`` all are alike, zero."""
    return th.log_softmax(logits, dim=1).clamp_min(MIN_LOG_PROBABILITY)


def step(optimizer: th.optim.Optimizer, loss: th.Tensor) -> None:
    """Take one step of ``optimizer`` down ``loss``."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def number_or_auto(name: str, value: str | float) -> str | float:
    """Return ``value``.

    Raises:
        ValueError: it is a text other than "auto".
    """
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"{name} {value!r} is unknown: use a number or 'auto'")
    return value


def initial_ent_coef(text: str) -> float:
    """Return the number in "auto_<number>", or 1 for "auto".

    Raises:
        ValueError: the text is another, or the number is not above 0.
    """
    auto, _, number = text.partition("_")
    try:
        initial = float(number or 1.0)
    except ValueError:
        initial = 0.0
    if auto != "auto" or not initial > 0:
        raise ValueError(f"ent_coef {text!r} is unknown: use a number, 'auto' or 'auto_<number above 0>'")
    return initial
