"""Actors: a denoising chain (LAD-TS, D2SAC) and a plain categorical network (SAC-TS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs

from rl_agent.ladts.diffusion import Denoiser, DenoisingChain, Prediction
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.networks import FlatDenoiser, Network, NodeDenoiser
from rl_agent.ladts.numpy_chain import MAX_LOGIT, Float32, NodeChain, softmax
from rl_agent.ladts.parts import PolicyPart


class NodeFeatures(BaseFeaturesExtractor):
    """Turns an observation of shape (batch, nodes, columns) into what a network reads.

    ``shared``: the layout's columns with the eligibility last, (batch, nodes, F + 1). ``flat``: one vector, with the
    job's columns only once.

    Args:
        observation_space: Box of shape (nodes, columns).
        layout: which column means what.
        network: ``shared`` or ``flat``.
    """

    columns: th.Tensor
    job_columns: th.Tensor

    def __init__(self, observation_space: spaces.Box, layout: ObservationLayout, network: Network) -> None:
        n_nodes = observation_space.shape[0]
        n_features = len(layout.job) + len(layout.node)
        size = n_nodes * (n_features + 1) if network == "shared" else len(layout.job) + n_nodes * len(layout.node)
        super().__init__(observation_space, size)
        self.layout = layout
        self.network = network
        columns = [*layout.job, *layout.node] if network == "shared" else [*layout.node]
        self.needs_mask = network == "shared" and layout.eligible is None
        if network == "shared" and layout.eligible is not None:
            columns.append(layout.eligible)
        self.register_buffer("columns", th.tensor(columns), persistent=False)
        self.register_buffer("job_columns", th.tensor(layout.job, dtype=th.int64), persistent=False)

    def forward(self, observation: th.Tensor) -> th.Tensor:
        """Return the network's input."""
        rows = observation.index_select(2, self.columns)
        if self.network == "flat":
            return th.cat([observation[:, 0].index_select(1, self.job_columns), rows.flatten(1)], dim=1)
        return th.nn.functional.pad(rows, (0, 1), value=1.0) if self.needs_mask else rows


class DiffusionActor(PolicyPart, BasePolicy):
    """Denoises a latent action into a categorical distribution over nodes.

    Args:
        observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images: as in
            ``PolicyPart``.
        n_denoising_steps, prediction, max_logit: see ``DenoisingChain``.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        layout: ObservationLayout,
        network: Network = "shared",
        net_arch: Sequence[int] = (32,),
        n_denoising_steps: int = 5,
        prediction: Prediction = "residual",
        max_logit: float | None = MAX_LOGIT,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images
        )
        self.n_denoising_steps = n_denoising_steps
        self.prediction = prediction
        self.max_logit = max_logit
        denoiser = self._make_denoiser()
        self.chain = DenoisingChain(denoiser, n_denoising_steps, prediction=prediction, max_logit=max_logit)
        self._numpy_chain: NodeChain | None = None

    def _make_denoiser(self) -> Denoiser:
        if self.network == "flat":
            return FlatDenoiser(
                self.features_extractor.features_dim, self.n_nodes, self.n_denoising_steps, self.net_arch
            )
        plays_the_start = self.prediction in ("residual", "scored")
        return NodeDenoiser(self.n_features, self.n_denoising_steps, self.net_arch[0], zero_output=plays_the_start)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "n_denoising_steps": self.n_denoising_steps,
            "prediction": self.prediction,
            "max_logit": self.max_logit,
        }

    def logits(self, observation: th.Tensor, start: th.Tensor, deterministic: bool = False) -> th.Tensor:
        """Return logits, shape (batch, nodes); those of ineligible nodes have probability exactly 0.

        Args:
            observation: shape (batch, nodes, columns).
            start: where the chains start, shape (batch, nodes).
            deterministic: draw no noise within the chain.
        """
        features = self.features(observation)
        score = None if self.layout.score is None else observation[..., self.layout.score]
        logits: th.Tensor = self.chain(start, features, self.eligible_nodes(observation), deterministic, score)
        return logits

    def act(self, observation: Float32, start: Float32, deterministic: bool = False) -> Float32:
        """Return probabilities, shape (batch, nodes), as the softmax of ``logits`` but without gradients.

        Args:
            observation: shape (batch, nodes, columns).
            start: where the chains start, shape (batch, nodes).
            deterministic: draw no noise within the chain.
        """
        chain, layout = self._chain_in_numpy(), self.layout
        if chain is None:
            return act_in_torch(self, observation, start, deterministic)
        if layout.eligible is None:
            eligible = np.ones_like(start)
        else:
            eligible = (observation[..., layout.eligible] > 0.5).astype(np.float32)
        score = observation[..., layout.score] if self.prediction == "scored" and layout.score is not None else None
        features = observation[..., [*layout.job, *layout.node]]
        return softmax(chain(features, eligible, start, score, None if deterministic else draw_noise))

    def _chain_in_numpy(self) -> NodeChain | None:
        denoiser = self.chain.network
        if not isinstance(denoiser, NodeDenoiser) or self.prediction not in NodeChain.PREDICTIONS:
            return None
        # On the CPU the chain shares the parameters' memory and so follows updates, which write in place. It is rebuilt
        # if that memory has moved: on a GPU, in a copy, after a change of the parameters' type.
        chain = self._numpy_chain
        if chain is None or chain.latent.ctypes.data != denoiser.latent.data_ptr():
            chain = NodeChain(denoiser.weights(), self.n_denoising_steps, self.prediction, self.max_logit)
            self._numpy_chain = chain
        return chain

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        raise NotImplementedError("an actor alone has no latent action: use the policy's predict()")


class CategoricalActor(PolicyPart, BasePolicy):
    """A network from observation to logits, without a chain: plain discrete SAC.

    Args:
        observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images: as in
            ``PolicyPart``.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        layout: ObservationLayout,
        network: Network = "shared",
        net_arch: Sequence[int] = (32,),
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor, layout, network, net_arch, normalize_images
        )
        self.head = self.make_network()

    def logits(self, observation: th.Tensor, start: th.Tensor, deterministic: bool = False) -> th.Tensor:
        """Return logits, shape (batch, nodes); ``start`` is not used."""
        values = self.values(self.head, self.features(observation))
        eligible = self.eligible_nodes(observation)
        return values if eligible is None else values.masked_fill(~eligible, th.finfo(values.dtype).min)

    def act(self, observation: Float32, start: Float32, deterministic: bool = False) -> Float32:
        """Return probabilities, shape (batch, nodes), as the softmax of ``logits`` but without gradients."""
        return act_in_torch(self, observation, start, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        logits = self.logits(observation, observation[..., 0], deterministic)
        return logits.argmax(dim=1) if deterministic else sample(th.softmax(logits, dim=1))


def act_in_torch(
    actor: DiffusionActor | CategoricalActor, observation: Float32, start: Float32, deterministic: bool
) -> Float32:
    """Return probabilities, shape (batch, nodes), of an actor that has no numpy version."""
    with th.inference_mode():
        logits = actor.logits(
            th.as_tensor(observation, device=actor.device), th.as_tensor(start, device=actor.device), deterministic
        )
        probabilities: Float32 = th.softmax(logits, dim=1).cpu().numpy()
    return probabilities


def draw_noise(shape: tuple[int, ...]) -> Float32:
    """Return N(0, 1) from torch's generator, which stable-baselines3 seeds."""
    noise: Float32 = th.randn(shape).numpy()
    return noise


def sample(probabilities: th.Tensor) -> th.Tensor:
    """Return one draw per row, shape (batch,)."""
    return th.multinomial(probabilities, 1).squeeze(1)
