"""What actors and critics have in common: the constructor, and networks with one output per node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.networks import FlatNetwork, Network, NodeNetwork


class PolicyPart(BaseModel):
    """An actor or a critic.

    Args:
        observation_space: Box of shape (nodes, columns).
        action_space: Discrete(nodes).
        features_extractor: turns observations into the networks' input.
        layout: which column means what.
        network: ``shared`` (permutation-equivariant) or ``flat`` (the paper's).
        net_arch: hidden widths; ``shared`` uses the first.
        normalize_images: stable-baselines3's, unused here.
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        layout: ObservationLayout,
        network: Network,
        net_arch: Sequence[int],
        normalize_images: bool,
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

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "features_extractor": self.features_extractor,
            "layout": self.layout,
            "network": self.network,
            "net_arch": self.net_arch,
        }

    @property
    def n_features(self) -> int:
        """How many columns of a node's row a ``shared`` network reads."""
        return len(self.layout.job) + len(self.layout.node)

    @property
    def n_nodes(self) -> int:
        """How many nodes the action space has."""
        return int(self.action_space.n)  # type: ignore[attr-defined]

    def make_network(self) -> NodeNetwork | FlatNetwork:
        """Return a new network from features to one value per node."""
        if self.network == "shared":
            return NodeNetwork(self.n_features, self.net_arch[0])
        return FlatNetwork(self.features_extractor.features_dim, self.n_nodes, self.net_arch)

    def values(self, module: th.nn.Module, features: th.Tensor) -> th.Tensor:
        """Return what a network of ``make_network`` says of every node, shape (batch, nodes)."""
        values: th.Tensor
        if self.network == "shared":
            values = module(features[..., :-1].contiguous(), features[..., -1] > 0)
        else:
            values = module(features)
        return values

    def features(self, observation: th.Tensor) -> th.Tensor:
        """Return the networks' input for an observation of shape (batch, nodes, columns)."""
        return self.extract_features(observation, self.features_extractor)

    def eligible_nodes(self, observation: th.Tensor) -> th.Tensor | None:
        """Return the mask of nodes that may be chosen, shape (batch, nodes), or None if all may."""
        column = self.layout.eligible
        return None if column is None else observation[..., column] > 0.5
