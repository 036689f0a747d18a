"""A replay buffer that stores with every transition where its chains started."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize


class LatentReplayBufferSamples(NamedTuple):
    """A batch; ``starts`` and ``next_starts`` have shape (batch, nodes)."""

    observations: th.Tensor
    actions: th.Tensor
    next_observations: th.Tensor
    dones: th.Tensor
    rewards: th.Tensor
    starts: th.Tensor
    next_starts: th.Tensor


class LatentReplayBuffer(ReplayBuffer):
    """Stores copies of the latent actions of each observation and of the next one.

    The caller sets ``pending`` before ``add``, whose signature belongs to stable-baselines3.

    Args:
        buffer_size, observation_space, action_space, device, n_envs, handle_timeout_termination: as in
            ``ReplayBuffer``.
        optimize_memory_usage: must be False: every next observation has a latent action of its own.

    Raises:
        ValueError: ``optimize_memory_usage`` is set, or the actions are not discrete.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage is not supported: every next observation has its own latent action")
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"action space {action_space} is not supported: latent actions need Discrete")
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs=n_envs,
            handle_timeout_termination=handle_timeout_termination,
        )
        shape = (self.buffer_size, n_envs, int(action_space.n))
        self.starts = np.zeros(shape, dtype=np.float32)
        self.next_starts = np.zeros(shape, dtype=np.float32)
        self.pending: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Add one transition per environment, with the pending starts.

        Raises:
            RuntimeError: ``pending`` was not set.
        """
        if self.pending is None:
            raise RuntimeError("set `pending` to the chains' starts before add()")
        self.starts[self.pos], self.next_starts[self.pos] = self.pending
        self.pending = None
        super().add(obs, next_obs, action, reward, done, infos)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> LatentReplayBufferSamples:  # type: ignore[override]
        """Return ``batch_size`` transitions, drawn uniformly with replacement."""
        upper = self.buffer_size if self.full else self.pos
        return self._get_samples(np.random.randint(0, upper, size=batch_size), env)

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> LatentReplayBufferSamples:
        e = np.random.randint(0, self.n_envs, size=len(batch_inds))
        data = (
            self._normalize_obs(self.observations[batch_inds, e], env),
            self.actions[batch_inds, e],
            self._normalize_obs(self.next_observations[batch_inds, e], env),
            (self.dones[batch_inds, e] * (1 - self.timeouts[batch_inds, e])).reshape(-1, 1),
            self._normalize_reward(self.rewards[batch_inds, e].reshape(-1, 1), env),
            self.starts[batch_inds, e],
            self.next_starts[batch_inds, e],
        )
        return LatentReplayBufferSamples(*map(self.to_torch, data))
