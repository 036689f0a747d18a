"""The learners that are compared in paper mode, by name, with their settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_agent.edge_offloading.features import ObservationKind, layout, published_layout
from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.edge_offloading.vec_env import EdgeOffloadingVecEnv
from rl_agent.ladts.actors import NodeFeatures
from rl_agent.ladts.ladts import LADTS

N_ENVS = 20
"""Parallel episodes: a batched chain decides 18 times as many tasks per second at 20 as at 1."""
DECISIONS_PER_UPDATE = 800
"""About 38 updates of 128 samples an episode at N = 50; the published preset makes 59, one per slot, of 1,280."""


@dataclass(frozen=True, kw_only=True)
class LearnerSpec:
    """A learner: one line of a figure.

    Attributes:
        name: in the figures.
        policy: policy name of ``LADTS``, or ``DQN``.
        observation: kind of observation, see ``EdgeOffloadingEnv``.
        published: whether to keep the published code's quirks (see docs/lad_ts.md).
        n_denoising_steps: I.
        ent_coef: entropy coefficient, as in ``LADTS``.
        ageing_gcycles_per_s: c of the planner's order, or None for the paper's.
        deterministic: whether the trained policy is evaluated by its most probable server. Without in-slot knowledge
            and without a plan that server is the same for all tasks, so such a policy is sampled from.
        policy_kwargs: further arguments of the policy.
    """

    name: str
    policy: str
    observation: ObservationKind = "in_slot"
    published: bool = False
    n_denoising_steps: int = 5
    ent_coef: str | float = "auto_0.003"
    ageing_gcycles_per_s: float | None = None
    deterministic: bool = True
    policy_kwargs: dict[str, Any] = field(default_factory=dict)

    def build(
        self, scenario: OffloadingScenario, seed: int, n_episodes: int, n_envs: int = N_ENVS, **kwargs: Any
    ) -> BaseAlgorithm:
        """Return the untrained model with an environment of its own.

        Args:
            scenario: parameters.
            seed: of networks, exploration and arrivals.
            n_episodes: number of training episodes.
            n_envs: number of parallel episodes, at most ``n_episodes``. Decisions per update do not depend on it.
            kwargs: further arguments of the algorithm.
        """
        env = EdgeOffloadingVecEnv(scenario, min(n_envs, n_episodes), self.observation, self.ageing_gcycles_per_s)
        if self.policy == "DQN":
            model: BaseAlgorithm = self._build_dqn(scenario, env, seed, **kwargs)
        else:
            model = LADTS(self.policy, env, seed=seed, **{**self._arguments(scenario, env.num_envs), **kwargs})
        # The algorithm gave its environments the seeds seed, seed + 1, ...: those of the next model's but one.
        env.seed(seed * 1000)
        return model

    def _arguments(self, scenario: OffloadingScenario, n_envs: int) -> dict[str, Any]:
        policy_kwargs: dict[str, Any] = {"n_denoising_steps": self.n_denoising_steps}
        if self.published:
            published = {
                "layout": published_layout(scenario),
                "network": "flat",
                "net_arch": (20, 20),
                "critic_net_arch": (20, 20),
                "prediction": "softmax",
                "max_logit": None,
                "latent_as_logits": False,
                "keep_latents": True,
            }
            return {
                "learning_rate": 1e-4,
                "reward_scale": 1.0,
                "ent_coef": "auto_0.05",
                "target_entropy": -1.0,
                "batch_size": 1280,
                "buffer_size": 20_000,
                "train_freq": steps_per_update(scenario.n_servers * round(scenario.mean_tasks), n_envs),
                "policy_kwargs": {**policy_kwargs, **published, **self.policy_kwargs},
            }
        ours = {"net_arch": (16,), "critic_net_arch": (32,)}
        return {
            "learning_rate": 1e-3,
            "ent_coef": self.ent_coef,
            "batch_size": 128,
            "train_freq": steps_per_update(DECISIONS_PER_UPDATE, n_envs),
            "policy_kwargs": {**policy_kwargs, **ours, **self.policy_kwargs},
        }

    def _build_dqn(self, scenario: OffloadingScenario, env: EdgeOffloadingVecEnv, seed: int, **kwargs: Any) -> DQN:
        columns = layout(scenario, self.observation)
        policy_kwargs = {
            "features_extractor_class": NodeFeatures,
            "features_extractor_kwargs": {"layout": columns, "network": "flat"},
            "net_arch": [64, 64],
        }
        arguments: dict[str, Any] = {
            "learning_rate": 1e-3,
            "buffer_size": 50_000,
            "learning_starts": 1_000,
            "batch_size": 128,
            "gamma": 0.95,
            "train_freq": steps_per_update(DECISIONS_PER_UPDATE // 4, env.num_envs),
            "target_update_interval": 10_000,
            "exploration_fraction": 0.3,
        }
        return DQN("MlpPolicy", env, policy_kwargs=policy_kwargs, seed=seed, **{**arguments, **kwargs})


def steps_per_update(decisions: int, n_envs: int) -> int:
    """Return the number of steps in which ``n_envs`` parallel episodes make about ``decisions`` decisions."""
    return max(1, round(decisions / n_envs))


LAD_TS = LearnerSpec(name="LAD-TS", policy="LADTSPolicy", policy_kwargs={"latent_action": "score"})
LEARNERS: dict[str, LearnerSpec] = {
    learner.name: learner
    for learner in (
        LAD_TS,
        replace(LAD_TS, name="LAD-TS, carried", policy_kwargs={"latent_action": "carried", "keep_latents": True}),
        LearnerSpec(name="D2SAC-TS", policy="D2SACPolicy"),
        LearnerSpec(name="SAC-TS", policy="SACTSPolicy"),
        LearnerSpec(name="DQN-TS", policy="DQN"),
        # Bounded, because its critics cannot see why the plan is good: docs/reproduction/README.md, "Learning cannot
        # keep the plan".
        replace(
            LAD_TS,
            name="LAD-TS, slot start",
            observation="slot_start",
            policy_kwargs={**LAD_TS.policy_kwargs, "prediction": "scored"},
        ),
        replace(
            LAD_TS,
            name="LAD-TS, slot start, no plan",
            observation="slot_start",
            deterministic=False,
            policy_kwargs={"latent_action": "noise", "prediction": "sample"},
        ),
        LearnerSpec(name="SAC-TS, slot start", policy="SACTSPolicy", observation="slot_start", deterministic=False),
        LearnerSpec(
            name="LAD-TS, published",
            policy="LADTSPolicy",
            observation="slot_start",
            published=True,
            deterministic=False,
        ),
    )
}
