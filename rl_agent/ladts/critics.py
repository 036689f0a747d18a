"""Twin critics: the value of every node for an observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rl_agent.ladts.actors import Network, build_network, run_network
from rl_agent.ladts.layout import ObservationLayout


class TwinCritic(BaseModel):
    """Several independent networks from observation to one value per node.

    Args:
        observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images: as in
            ``rl_agent.ladts.actors.DiffusionActor``.
        n_critics: how many networks.
    """

    features_extractor: BaseFeaturesExtractor

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
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.layout = layout
        self.network = network
        self.net_arch = tuple(net_arch)
        self.n_critics = n_critics
        self.q_networks = th.nn.ModuleList(
            build_network(features_extractor, action_space, layout, network, self.net_arch) for _ in range(n_critics)
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "features_extractor": self.features_extractor,
            "layout": self.layout,
            "network": self.network,
            "net_arch": self.net_arch,
            "n_critics": self.n_critics,
        }

    def forward(self, observation: th.Tensor) -> th.Tensor:
        """Return values, shape (n_critics, batch, nodes)."""
        features = self.extract_features(observation, self.features_extractor)
        return th.stack([run_network(module, features, self.network) for module in self.q_networks])
