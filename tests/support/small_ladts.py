"""LADTS models that learn within a second: a small paper-mode scenario and small networks."""

from __future__ import annotations

from typing import Any

from rl_agent.edge_offloading.features import layout
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.ladts import LADTS

SCENARIO = OffloadingScenario(n_servers=4, n_tasks=5, n_slots=3)
SMALL: dict[str, Any] = {"net_arch": (8,), "critic_net_arch": (8,), "n_denoising_steps": 3}


def environment(n_envs: int = 2) -> EdgeOffloadingVecEnv:
    env = EdgeOffloadingVecEnv(SCENARIO, n_envs, "in_slot")
    env.seed(1)
    return env


def build(policy: str = "LADTSPolicy", n_envs: int = 2, **kwargs: Any) -> LADTS:
    policy_kwargs = {"layout": layout(SCENARIO, "in_slot"), **SMALL, **kwargs.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, "seed": 0, "train_freq": 4, **kwargs}
    return LADTS(policy, environment(n_envs), policy_kwargs=policy_kwargs, **arguments)
