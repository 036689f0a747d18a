"""Twin critics: the value of every node for an observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.networks import Network
from rl_agent.ladts.parts import PolicyPart


class TwinCritic(PolicyPart):
    """Several independent networks from observation to one value per node.

    Args:
        observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images: as in
            ``PolicyPart``.
        n_critics: how many networks.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        layout: ObservationLayout,
        network: Network = "shared",
        net_arch: Sequence[int] = (64,),
        n_critics: int = 2,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images
        )
        self.n_critics = n_critics
        self.q_networks = th.nn.ModuleList(self.make_network() for _ in range(n_critics))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "n_critics": self.n_critics}

    def forward(self, observation: th.Tensor) -> th.Tensor:
        """Return values, shape (n_critics, batch, nodes)."""
        features = self.features(observation)
        return th.stack([self.values(module, features) for module in self.q_networks])
