"""Many episodes of `EdgeOffloading-v0` in parallel, as a stable-baselines3 VecEnv."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rl_agent.edge_offloading.core import OffloadingCore
from rl_agent.edge_offloading.features import Features, ObservationKind, bounds, layout
from rl_agent.edge_offloading.scenario import FloatArray, OffloadingScenario
from rl_agent.ladts.layout import ObservationLayout


class EdgeOffloadingVecEnv(VecEnv):
    """Plays ``n_envs`` episodes in one process; every step places one task in each.

    Spaces, rewards and ends are those of ``EdgeOffloadingEnv``. ``infos`` contains ``terminal_observation`` and what a
    ``Monitor`` would write ("episode": return, length, time), so no ``Monitor`` is needed.

    Args:
        scenario: parameters.
        n_envs: number of parallel episodes.
        observation: see ``EdgeOffloadingEnv``.
        ageing_gcycles_per_s: see ``OffloadingCore``.
    """

    def __init__(
        self,
        scenario: OffloadingScenario,
        n_envs: int,
        observation: ObservationKind = "slot_start",
        ageing_gcycles_per_s: float | None = None,
    ) -> None:
        self.scenario = scenario
        self.core = OffloadingCore(scenario, n_envs, ageing_gcycles_per_s)
        self.features = Features(scenario, observation, n_envs)
        self.render_mode = None
        box = spaces.Box(*bounds(scenario), dtype=np.float32)
        super().__init__(n_envs, box, spaces.Discrete(scenario.n_servers))
        self._generators = [np.random.default_rng() for _ in range(n_envs)]
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
        self._started = time.time()
        self._no_infos: list[dict[str, Any]] = [{} for _ in range(n_envs)]

    @property
    def layout(self) -> ObservationLayout:
        """Return which column means what to ``LADTSPolicy``."""
        return layout(self.scenario, self.features.kind)

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes; seeds given by ``seed`` are used once."""
        for e, seed in enumerate(self._seeds):
            if seed is not None:
                self._generators[e] = np.random.default_rng(seed)
        self._reset_seeds()
        self._reset_options()
        first, *others = [self.scenario.draw(1, generator) for generator in self._generators]
        self.core.begin(first.joined(others))
        self._returns[:], self._lengths[:] = 0.0, 0
        return self.features(self.core.decision())

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Store the servers that ``step_wait`` will place on."""
        self._actions = np.asarray(actions, dtype=np.int64).reshape(self.num_envs)

    def step_wait(self) -> tuple[NDArray[np.float32], FloatArray, NDArray[np.bool_], list[dict[str, Any]]]:
        """Place one task in every episode; ended episodes restart."""
        delay, ended = self.core.step(self._actions)
        self._returns -= delay
        self._lengths += 1
        observation = self.features(self.core.decision())
        infos = self._no_infos
        if ended.any():
            infos = [{} for _ in range(self.num_envs)]
            for e in np.flatnonzero(ended):
                infos[e] = self._end(int(e), observation[e].copy())
            observation = self.features(self.core.decision())
        return observation, -delay, ended, infos

    def _end(self, e: int, terminal_observation: NDArray[np.float32]) -> dict[str, Any]:
        seconds = round(time.time() - self._started, 6)
        length = int(self._lengths[e])
        episode = {"r": float(self._returns[e]), "l": length, "t": seconds}
        self._returns[e], self._lengths[e] = 0.0, 0
        self.core.replace(e, self.scenario.draw(1, self._generators[e]))
        return {
            "terminal_observation": terminal_observation,
            "TimeLimit.truncated": self.core.ageing_gcycles_per_s is None,
            "episode": episode,
            "mean_service_delay_s": -episode["r"] / length,
        }

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return an attribute, which is the same for every episode."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refuse: the episodes share one core."""
        raise NotImplementedError(f"{attr_name} cannot be set for single episodes of {type(self).__name__}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method once and return its result for every index."""
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None) -> list[bool]:
        """Return False for every wrapper, except that a Monitor is built in."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return None for every episode: there are no pictures."""
        return [None for _ in range(self.num_envs)]
