"""Gymnasium ids of this package. ``import rl_agent.envs`` registers them."""

from __future__ import annotations

import gymnasium as gym

gym.register(id="EdgeOffloading-v0", entry_point="rl_agent.edge_offloading.env:EdgeOffloadingEnv")
gym.register(id="EdgePlacement-v1", entry_point="rl_agent.edge_placement.env:EdgePlacementEnv")
