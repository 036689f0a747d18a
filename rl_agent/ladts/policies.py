"""Policies of LAD-TS: actor, twin critics, and the memory of latent actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from rl_agent.ladts.actors import CategoricalActor, DiffusionActor, NodeFeatures, sample
from rl_agent.ladts.critics import TwinCritic
from rl_agent.ladts.diffusion import Prediction
from rl_agent.ladts.layout import ObservationLayout
from rl_agent.ladts.networks import Network
from rl_agent.ladts.numpy_chain import MAX_LOGIT, start_of

LatentAction = Literal["carried", "score", "noise"]
"""Where a chain starts.

``carried``  the last probabilities under the same key (the job's own; in the paper those of the same slot, station and
             task number in the previous episode); the first time the score, or noise if there is none.
``score``    always the score of the layout's rule.
``noise``    N(0, 1): D2SAC.
"""


class LADTSPolicy(BasePolicy):
    """Diffusion actor and twin discrete critics.

    Observations are matrices of shape (nodes, columns). ``predict`` threads the memory of latent actions through
    ``state``: an array of shape (n_envs, keys, nodes), NaN where nothing is remembered yet.

    Args:
        observation_space: Box of shape (nodes, columns).
        action_space: Discrete(nodes).
        lr_schedule: learning rate at the start, for the optimizers.
        layout: which column means what; by default all columns are node columns, every node may be chosen, and nothing
            is remembered.
        network: ``shared`` serves any number of nodes, ``flat`` is the paper's.
        net_arch: hidden widths of the actor.
        critic_net_arch: hidden widths of the critics.
        n_critics: number of critics.
        n_denoising_steps: I, length of the chain.
        prediction: what the denoiser's output means, see ``rl_agent.ladts.diffusion.Prediction``.
        max_logit: bound on the logits.
        latent_action: where a chain starts, see ``LatentAction``.
        latent_as_logits: start from the logits of remembered probabilities; False starts from the probabilities
            themselves, as the published code does.
        keep_latents: remember across episodes, as the paper does; False forgets when an episode starts. ``save`` stores
            weights only: pass ``LADTS.latent_memory`` to ``predict`` to play what was trained.
        optimizer_class: optimizer of all parts.
        optimizer_kwargs: its arguments.

    Raises:
        ValueError: the observation is not a matrix with one row per action, or an argument is unknown.

    Source: arXiv 2412.18212, section on LAD-TS.
    Differs: one policy for all stations; the defaults for network, prediction and first latent action are ours.
    """

    actor: DiffusionActor | CategoricalActor
    critic: TwinCritic
    critic_target: TwinCritic

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        layout: ObservationLayout | None = None,
        network: Network = "shared",
        net_arch: Sequence[int] = (32,),
        critic_net_arch: Sequence[int] = (64,),
        n_critics: int = 2,
        n_denoising_steps: int = 5,
        prediction: Prediction = "residual",
        max_logit: float | None = MAX_LOGIT,
        latent_action: LatentAction = "carried",
        latent_as_logits: bool = True,
        keep_latents: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class=NodeFeatures,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        shape = observation_space.shape
        if len(shape) != 2 or shape[0] != action_space.n:
            raise ValueError(f"observation shape {shape} does not fit {action_space.n} actions: use (nodes, columns)")
        for name, value, known in (("network", network, Network), ("latent_action", latent_action, LatentAction)):
            if value not in get_args(known):
                raise ValueError(f"{name} {value!r} is unknown: use one of {get_args(known)}")
        self.layout = layout or ObservationLayout(node=tuple(range(shape[1])))
        if prediction == "scored" and self.layout.score is None:
            raise ValueError("prediction 'scored' corrects a rule's scores: the layout must name their column")
        for name, widths in (("net_arch", net_arch), ("critic_net_arch", critic_net_arch)):
            if len(widths) == 0 or (network == "shared" and len(widths) != 1):
                raise ValueError(f"{name} is {tuple(widths)}: give the widths, for network 'shared' a single one")
        self.network = network
        self.net_arch = tuple(net_arch)
        self.critic_net_arch = tuple(critic_net_arch)
        self.n_critics = n_critics
        self.n_denoising_steps = n_denoising_steps
        self.prediction = prediction
        self.max_logit = max_logit
        self.latent_action = latent_action
        self.latent_as_logits = latent_as_logits
        self.keep_latents = keep_latents
        self.features_extractor_kwargs = {"layout": self.layout, "network": network}
        self._build(lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        self.actor = self.make_actor()
        self.critic = self.make_critic()
        self.critic_target = self.make_critic()
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.set_training_mode(False)
        for part in (self.actor, self.critic):
            part.optimizer = self.optimizer_class(part.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _part_arguments(self, net_arch: tuple[int, ...]) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "features_extractor": self.make_features_extractor(),
            "layout": self.layout,
            "network": self.network,
            "net_arch": net_arch,
            "normalize_images": self.normalize_images,
        }

    def make_actor(self) -> DiffusionActor | CategoricalActor:
        """Return a new actor on the policy's device."""
        return DiffusionActor(
            **self._part_arguments(self.net_arch),
            n_denoising_steps=self.n_denoising_steps,
            prediction=self.prediction,
            max_logit=self.max_logit,
        ).to(self.device)

    def make_critic(self) -> TwinCritic:
        """Return new critics on the policy's device."""
        return TwinCritic(**self._part_arguments(self.critic_net_arch), n_critics=self.n_critics).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        del parameters["normalize_images"]
        return {
            **parameters,
            "lr_schedule": self._dummy_schedule,
            "layout": self.layout,
            "network": self.network,
            "net_arch": self.net_arch,
            "critic_net_arch": self.critic_net_arch,
            "n_critics": self.n_critics,
            "n_denoising_steps": self.n_denoising_steps,
            "prediction": self.prediction,
            "max_logit": self.max_logit,
            "latent_action": self.latent_action,
            "latent_as_logits": self.latent_as_logits,
            "keep_latents": self.keep_latents,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def set_training_mode(self, mode: bool) -> None:
        """Put actor and critics in training or evaluation mode; the targets always evaluate."""
        if mode != self.training:  # walking the modules costs a tenth of a small decision
            self.actor.set_training_mode(mode)
            self.critic.set_training_mode(mode)
            self.training = mode

    @property
    def remembers(self) -> bool:
        """Whether latent actions are carried from one decision under a key to the next."""
        return self.latent_action == "carried" and self.layout.key is not None

    def new_memory(self, n_envs: int) -> NDArray[np.float32]:
        """Return an empty memory of latent actions, shape (n_envs, keys, nodes)."""
        keys = max(self.layout.n_keys, 1) if self.remembers else 0
        n_nodes = int(self.action_space.n)  # type: ignore[attr-defined]
        return np.full((n_envs, keys, n_nodes), np.nan, dtype=np.float32)

    def recall(
        self, memory: NDArray[np.float32], observation: NDArray[np.float32], deterministic: bool = False
    ) -> NDArray[np.float32]:
        """Return where the chains start for ``observation`` (n_envs, nodes, columns): shape (n_envs, nodes).

        Args:
            memory: latent actions, shape (n_envs, keys, nodes).
            observation: what is to be decided.
            deterministic: zeros instead of noise.
        """
        if not self.remembers:
            return self._first(observation, deterministic)
        start: NDArray[np.float32] = memory[np.arange(len(observation)), self._keys(observation)]
        is_first = np.isnan(start[:, 0])
        if is_first.any():
            start[is_first] = self._first(observation[is_first], deterministic)
        return start

    def remember(
        self, memory: NDArray[np.float32], observation: NDArray[np.float32], probabilities: NDArray[np.float32]
    ) -> None:
        """Write the probabilities of a decision about ``observation`` into ``memory``."""
        if self.remembers:
            latent = start_of(probabilities) if self.latent_as_logits else probabilities
            memory[np.arange(len(observation)), self._keys(observation)] = latent

    def _keys(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        assert self.layout.key is not None
        return observation[:, 0, self.layout.key].astype(np.int64) % max(self.layout.n_keys, 1)

    def _first(self, observation: NDArray[np.float32], deterministic: bool) -> NDArray[np.float32]:
        if self.layout.score is not None and self.latent_action != "noise":
            score = observation[..., self.layout.score].astype(np.float32)
            return score if self.latent_as_logits else th.softmax(th.as_tensor(score), dim=1).numpy()
        shape = observation.shape[:2]
        return np.zeros(shape, dtype=np.float32) if deterministic else th.randn(shape).numpy()

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> th.Tensor:
        """Return actions for first-time decisions, shape (batch,)."""
        return self._predict(obs, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        batch = observation.cpu().numpy()
        actions, _ = self.decide(batch, self._first(batch, deterministic), deterministic)
        return th.as_tensor(actions, device=self.device)

    def decide(
        self, observation: NDArray[np.float32], start: NDArray[np.float32], deterministic: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return actions (batch,) and probabilities (batch, nodes) for chains from ``start`` (batch, nodes)."""
        probabilities = self.actor.act(observation, start, deterministic)
        if deterministic:
            return probabilities.argmax(axis=1), probabilities
        return sample(th.from_numpy(probabilities)).numpy(), probabilities

    def predict(  # type: ignore[override]
        self,
        observation: NDArray[np.float32],
        state: NDArray[np.float32] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Choose nodes, and carry the latent actions to the next call.

        Args:
            observation: shape (nodes, columns) or (n_envs, nodes, columns).
            state: the memory returned by the previous call; None is an empty one. It is updated in place: in paper
                mode it holds 60,000 latent actions per environment, too many to copy at every step.
            episode_start: where an episode starts; there the memory is emptied unless ``keep_latents``.
            deterministic: the most probable node of a chain without noise.

        Returns:
            Nodes, and the memory for the next call.
        """
        self.set_training_mode(False)
        vectorized = self.is_vectorized_observation(observation)
        batch = np.asarray(observation, dtype=np.float32).reshape(-1, *self.observation_space.shape)  # type: ignore[misc]
        memory = self.new_memory(len(batch)) if state is None else state
        if episode_start is not None and not self.keep_latents:
            memory[np.asarray(episode_start, dtype=bool)] = np.nan
        chosen, probabilities = self.decide(batch, self.recall(memory, batch, deterministic), deterministic)
        self.remember(memory, batch, probabilities)
        return (chosen if vectorized else chosen.squeeze(axis=0)), memory


class D2SACPolicy(LADTSPolicy):
    """The same chain started from noise.

    Args:
        kwargs: as in ``LADTSPolicy``; ``latent_action`` and ``prediction`` default to ``noise`` and ``sample``.

    Source: D2SAC, arXiv 2303.13052.
    """

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Discrete, lr_schedule: Schedule, **kwargs: Any
    ) -> None:
        defaults = {"latent_action": "noise", "prediction": "sample"}
        super().__init__(observation_space, action_space, lr_schedule, **{**defaults, **kwargs})


class SACTSPolicy(LADTSPolicy):
    """A categorical actor without a chain: discrete SAC.

    Args:
        kwargs: as in ``LADTSPolicy``; what concerns the chain is ignored.

    Source: arXiv 1910.07207.
    """

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Discrete, lr_schedule: Schedule, **kwargs: Any
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, **{"latent_action": "noise", **kwargs})

    def make_actor(self) -> CategoricalActor:
        """Return a new actor on the policy's device."""
        return CategoricalActor(**self._part_arguments(self.net_arch)).to(self.device)
