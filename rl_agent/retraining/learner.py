"""Continues the training of a served policy with `LADTS`: from real experience, and in the twin.

Both kinds of transitions share one replay buffer, so their rewards must mean the same: how much later than predicted.
In the twin that is the reward `foresight` of `EdgePlacementEnv`; for a logged job it is the service delay predicted at
submit minus the measured one. Both are in standard seconds. The prediction at submit does not depend on the node, so
it changes no comparison between nodes: it is a baseline that takes the busy hours out of the critics' targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_agent.edge_placement.env import KEY_COLUMN, EdgePlacementEnv
from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.experience.decision import Decision
from rl_agent.ladts.buffers import LatentReplayBuffer
from rl_agent.ladts.ladts import LADTS
from rl_agent.ladts.numpy_chain import NodeDenoiserWeights, start_of
from rl_agent.policy.export import load_weights, served_weights
from rl_agent.policy.file import LoadedPolicy
from rl_agent.policy.rows import COLUMN, STANDARD_GENERATION, scored_by
from rl_agent.retraining.gate import PlannerSettings
from rl_agent.retraining.samples import Samples

ENVS = 2
"""Episodes side by side: two cost little more than one, as both are decided in one batch."""
LOOKAHEAD = 8
"""Bound on the planner's lookahead in training, as in `rl_agent.edge_placement.train`: jobs further behind mostly stay
WAITING, and such decisions teach little."""
BUFFER_BYTES = 48 * 2**20
"""Observations in the replay buffer: 5,242 transitions at 50 nodes; a trainer takes about 400 MB in all."""
MAX_LATENESS = 10.0
"""In medians of the logged service delays: a job that was forgotten for a day must not outweigh all others."""
# As in `rl_agent.edge_placement.train`, with three exceptions. learning_rate: at 2e-4, 12,000 decisions ended 7 to 16 %
# worse than they had begun (docs/retraining.md). gamma: a round sees few jobs, and the reward looks ahead by itself.
# learning_starts: the buffer begins with logged transitions.
LEARNING: dict[str, Any] = {
    "learning_rate": 3e-5,
    "learning_starts": 500,
    "batch_size": 128,
    "gamma": 0.9,
    "train_freq": 2,
    "ent_coef": 0.005,
    "reward_scale": 0.02,
}


@dataclass(kw_only=True)
class Stop(BaseCallback):
    """Reports every step of the environments, and stops the learning when told to.

    Attributes:
        goes_on: called with the number of decisions made so far; returns False to stop.
    """

    goes_on: Callable[[int], bool]

    def __post_init__(self) -> None:
        """Set up stable-baselines3's part."""
        super().__init__()

    def _on_step(self) -> bool:
        return self.goes_on(self.num_timesteps)


class Learner:
    """A `LADTS` model that starts from the served policy.

    Args:
        policy: to start from.
        scenarios: episodes of the twin, played in turn.
        planner: the planner's settings.
        seed: of everything drawn.
    """

    def __init__(
        self,
        policy: LoadedPolicy,
        scenarios: Sequence[PlacementScenario],
        planner: PlannerSettings,
        seed: int,
    ) -> None:
        card, weights = policy.card, policy.weights
        middle_s = float(np.median([scenario.middle_generation_s for scenario in scenarios]))
        self.nodes = max(len(scenario.nodes) for scenario in scenarios)
        self._standard_s = middle_s / STANDARD_GENERATION
        self._rule = card.rule
        self._names = frozenset(node.name for scenario in scenarios for node in scenario.nodes)
        self.model = LADTS(
            "LADTSPolicy",
            self._environment(scenarios, planner),
            buffer_size=max(BUFFER_BYTES // (self.nodes * (KEY_COLUMN + 1) * 8), 1_000),
            explore_uniformly=False,
            policy_kwargs={
                "prediction": "scored",
                "net_arch": (len(weights.row_bias),),
                "n_denoising_steps": card.n_denoising_steps,
            },
            device="cpu",
            seed=seed,
            **LEARNING,
        )
        load_weights(self.model.policy, weights)

    def _environment(self, scenarios: Sequence[PlacementScenario], planner: PlannerSettings) -> DummyVecEnv:
        """Return `ENVS` environments that play all scenarios, each beginning with another one."""

        def make_env(first: int) -> EdgePlacementEnv:
            return EdgePlacementEnv(
                n_nodes=(self.nodes, self.nodes),
                max_nodes=self.nodes,
                window=planner.window,
                ageing=planner.ageing,
                lookahead=min(planner.lookahead, LOOKAHEAD),
                handover_s=planner.handover_s,
                joint_ageing=planner.joint_ageing,
                reward="foresight",
                rule=self._rule,
                scenarios=[*scenarios[first:], *scenarios[:first]],
            )

        starts = [len(scenarios) * n // ENVS for n in range(ENVS)]
        return DummyVecEnv([lambda first=first: make_env(first) for first in starts])  # type: ignore[misc]

    @property
    def weights(self) -> NodeDenoiserWeights:
        """Return the policy as it would be served now."""
        return served_weights(self.model.policy)

    def add_experience(self, samples: Samples, newest: int, check: Callable[[], None] = lambda: None) -> int:
        """Put at most the `newest` logged transitions into the replay buffer; return how many.

        Transitions without a prediction at submit, or on nodes that the twin does not have, are left out. `check` is
        called before each, and may raise.
        """
        following = samples.following()
        usable = [sample.foretold_s is not None and sample.node in self._names for sample in samples.kept]
        known = np.flatnonzero(usable)[-newest:]
        bound_s = MAX_LATENESS * float(np.median([sample.delay_s for sample in samples.kept]))
        buffer = self.model.replay_buffer
        assert isinstance(buffer, LatentReplayBuffer)
        empty = np.zeros((self.nodes, KEY_COLUMN + 1), dtype=np.float32), np.zeros(self.nodes, dtype=np.float32)
        taken = len(known) - len(known) % ENVS
        for first in range(0, taken, ENVS):
            check()
            group = [samples.kept[n] for n in known[first : first + ENVS]]
            nexts = [following[n] for n in known[first : first + ENVS]]
            here = [self._observation(sample.decision) for sample in group]
            chosen = [self._kept(sample.decision).index(sample.chosen) for sample in group]
            there = [empty if n is None else self._observation(samples.kept[n].decision) for n in nexts]
            buffer.pending = np.stack([start for _, start in here]), np.stack([start for _, start in there])
            late_s = [np.clip(sample.delay_s - (sample.foretold_s or 0.0), -bound_s, bound_s) for sample in group]
            buffer.add(
                np.stack([matrix for matrix, _ in here]),
                np.stack([matrix for matrix, _ in there]),
                np.array(chosen)[:, None],
                -np.array(late_s) / self._standard_s,
                np.array([n is None for n in nexts]),
                [{} for _ in group],
            )
        return taken

    def learn(self, decisions: int, goes_on: Callable[[int], bool]) -> None:
        """Make decisions in the twin and learn from them, until so many are made or `goes_on` returns False."""
        self.model.learn(decisions, callback=Stop(goes_on=goes_on), reset_num_timesteps=False, log_interval=1_000_000)

    def state(self) -> dict[str, th.Tensor]:
        """Return the parameters of actor and critics."""
        return {name: tensor.contiguous() for name, tensor in self.model.policy.state_dict().items()}

    def restore(self, state: Mapping[str, Any], prefix: str = "") -> bool:
        """Load the parameters whose name begins with `prefix`; return False, and load none, if one does not fit."""
        own = self.model.policy.state_dict()
        wanted = {name: tensor for name, tensor in own.items() if name.startswith(prefix)}
        if any(name not in state or state[name].shape != tensor.shape for name, tensor in wanted.items()):
            return False
        self.model.policy.load_state_dict({**own, **{name: state[name] for name in wanted}})
        return True

    def _kept(self, decision: Decision) -> list[int]:
        """Return the indices of a logged decision's nodes that the twin has."""
        return [index for index, node in enumerate(decision.nodes) if node in self._names]

    def _observation(self, decision: Decision) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the environment's observation of a logged decision, and the start of its denoising chain."""
        kept = self._kept(decision)
        nodes = len(kept)
        matrix = np.zeros((self.nodes, KEY_COLUMN + 1), dtype=np.float32)
        matrix[:nodes, :KEY_COLUMN] = scored_by(self._rule, decision.rows[kept])
        start = np.zeros(self.nodes, dtype=np.float32)
        latent = decision.latent_action[kept]
        is_first = bool(np.isnan(latent).any())
        start[:nodes] = matrix[:nodes, COLUMN["score"]] if is_first else start_of(latent)
        return matrix, start
