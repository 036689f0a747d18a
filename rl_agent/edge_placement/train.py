"""Trains the served policy in `EdgePlacement-v1` with `LADTS`, and exports the best one seen.

Run `python -m rl_agent.train_placement --out FOLDER`. After every round of decisions the policy, played without noise,
is compared with the rule that it started from, on the same validation scenarios. The round with the smallest mean
service delay relative to that rule is exported. The seeds of validation, of training and of
`benchmarks/edge_placement.py` are disjoint. Left out: learning from logged experience.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_agent.edge_placement.env import EdgePlacementEnv
from rl_agent.edge_placement.genai_trace import GenAITraceSpec
from rl_agent.edge_placement.genai_trace_env import GenAITraceEnv
from rl_agent.edge_placement.scenario import PlacementScenario, ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.ladts.ladts import LADTS
from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import PatientCompletionPlacer
from rl_agent.policy.export import reset_actor, served_weights
from rl_agent.policy.file import PolicyCard, load_policy, save_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import PATIENT

logger = logging.getLogger(__name__)

VALIDATION_SEED = 90_000
"""First seed of the validation scenarios; evaluation begins at 500,000, training draws from generators of its own."""
VALIDATION_LOADS = (0.5, 0.7, 0.9, 1.1)
"""Those of `EdgePlacement-v1`: from half idle to overloaded."""
VALIDATION_QUANTILES = (0.15, 0.45, 0.75)
"""Fleet sizes in validation, on a logarithmic scale from the smallest (0) to the largest fleet in training (1)."""
LOAD_STRETCH = (0.3, 3.0)
"""Range of the factor on the duration of model loads in training, see docs/edge_placement.md."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How long and on what to train; the defaults made the shipped policy.

    Attributes:
        n_nodes: smallest and largest number of nodes of a fleet.
        warm_up_decisions: from which only the critics learn; the actor is put back afterwards.
        decisions: after the warm-up.
        round_decisions: decisions between two validations.
        envs: fleets side by side.
        hidden: width of the denoiser.
        n_denoising_steps: length of its chain.
        learning_rate: at the start; it falls linearly to 0.
        validation_scenarios: how many.
        jobs_per_node: length of a validation scenario.
    """

    seed: int = 0
    n_nodes: tuple[int, int] = (3, 20)
    warm_up_decisions: int = 10_000
    decisions: int = 60_000
    round_decisions: int = 10_000
    envs: int = 4
    hidden: int = 24
    n_denoising_steps: int = 5
    learning_rate: float = 3e-4
    gamma: float = 0.99
    ent_coef: float = 0.005
    reward_scale: float = 0.02
    validation_scenarios: int = 24
    jobs_per_node: int = 40

    @property
    def command(self) -> str:
        """What to type for this plan's seed, decisions and nodes."""
        smallest, largest = self.n_nodes
        options = f"--seed {self.seed} --decisions {self.decisions} --nodes {smallest} {largest}"
        return f"python -m rl_agent.train_placement {options}"


def make_model(plan: TrainingPlan) -> LADTS:
    """Return an untrained model on fresh fleets; it plays the rule that it starts from."""

    def make_env(family: type[EdgePlacementEnv]) -> EdgePlacementEnv:
        return family(n_nodes=plan.n_nodes, max_nodes=plan.n_nodes[1], reward="foresight", load_stretch=LOAD_STRETCH)

    arguments = {
        "prediction": "scored",
        "net_arch": (plan.hidden,),
        "n_denoising_steps": plan.n_denoising_steps,
    }
    families = [(EdgePlacementEnv, GenAITraceEnv)[number % 2] for number in range(plan.envs)]
    env = DummyVecEnv([lambda family=family: make_env(family) for family in families])  # type: ignore[misc]
    model = LADTS(
        "LADTSPolicy",
        env,
        learning_rate=LinearSchedule(plan.learning_rate, 0.0, 1.0),
        buffer_size=100_000,
        learning_starts=4_000,
        batch_size=128,
        gamma=plan.gamma,
        train_freq=2,
        ent_coef=plan.ent_coef,
        reward_scale=plan.reward_scale,
        explore_uniformly=False,
        policy_kwargs=arguments,
        device="cpu",
        seed=plan.seed,
    )
    # The algorithm gave its environments the seeds seed, seed + 1, ...: those of the next model's but one.
    env.seed(plan.seed * 1000)
    return model


def validation_scenarios(plan: TrainingPlan) -> list[PlacementScenario]:
    """Return the scenarios that rounds are compared on; loads, fleet sizes and kinds of arrivals alternate."""
    smallest, largest = plan.n_nodes
    sizes = [round(smallest * (largest / smallest) ** quantile) for quantile in VALIDATION_QUANTILES]
    return [
        (ScenarioSpec, GenAITraceSpec)[n // 4 % 2](
            n_nodes=sizes[n % len(sizes)],
            jobs_per_node=plan.jobs_per_node,
            load=VALIDATION_LOADS[n % len(VALIDATION_LOADS)],
            arrivals="bursty" if n // 2 % 2 else "poisson",
        ).draw(VALIDATION_SEED + n)
        for n in range(plan.validation_scenarios)
    ]


def mean_delays_s(placer: Placer, scenarios: Sequence[PlacementScenario]) -> FloatArray:
    """(scenarios,) mean service delay in seconds under `placer`."""
    return np.array([Simulator(scenario).run(placer).mean() for scenario in scenarios])


class Validation(BaseCallback):
    """Plays the validation scenarios after every round, and keeps the best policy in a folder.

    Attributes:
        rounds: for each round its decisions, the mean log ratio of the policy's delay to the rule's, and its standard
            error.
    """

    def __init__(self, plan: TrainingPlan, out: Path) -> None:
        super().__init__()
        self.plan = plan
        self.out = out
        self.rounds: list[dict[str, Any]] = []
        self._scenarios = validation_scenarios(plan)
        self._rule_s = mean_delays_s(PatientCompletionPlacer(), self._scenarios)

    def _on_training_start(self) -> None:
        self._export(self.out)

    def _on_step(self) -> bool:
        if self.num_timesteps % self.plan.round_decisions < self.plan.envs:
            self._validate()
        return True

    def _validate(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._export(Path(folder))
            ratios = np.log(mean_delays_s(LearnedPlacer(Path(folder)), self._scenarios) / self._rule_s)
        error = ratios.std() / np.sqrt(len(ratios))
        ratio = {"decisions": self.num_timesteps, "log_ratio": float(ratios.mean()), "error": float(error)}
        logger.info("%d decisions: mean log ratio %+.3f +- %.3f", self.num_timesteps, ratios.mean(), error)
        self.rounds.append(ratio)
        if ratio["log_ratio"] <= min([0.0, *(r["log_ratio"] for r in self.rounds)]):
            self._export(self.out)

    def _export(self, folder: Path) -> None:
        save_policy(
            folder,
            served_weights(self.model.policy),  # type: ignore[arg-type]
            version=f"edge-placement-s{self.plan.seed}-{self.num_timesteps}",
            n_denoising_steps=self.plan.n_denoising_steps,
            training={"command": self.plan.command, **vars(self.plan)},
            rule=PATIENT,
        )


def train(plan: TrainingPlan, out: Path) -> PolicyCard:
    """Train by `plan` and export the best policy to the folder `out`.

    Returns:
        The card of the exported policy; its `training` holds the plan and every round's ratio to the rule.
    """
    th.set_num_threads(1)
    validation = Validation(plan, out)
    model = make_model(plan)
    start = served_weights(model.policy)
    model.learn(plan.warm_up_decisions, log_interval=1000)
    reset_actor(model, start)
    model.learn(plan.decisions, callback=validation, log_interval=1000)
    best = load_policy(out)
    return save_policy(
        out,
        best.weights,
        version=best.card.version,
        n_denoising_steps=best.card.n_denoising_steps,
        training={**best.card.training, "rounds": validation.rounds},
        rule=PATIENT,
    )


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m rl_agent.train_placement", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="policy folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decisions", type=int, default=TrainingPlan.decisions)
    parser.add_argument(
        "--nodes",
        type=int,
        nargs=2,
        default=TrainingPlan.n_nodes,
        metavar=("MIN", "MAX"),
        help="nodes of a fleet in training and validation (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.nodes[0] <= arguments.nodes[1]:
        parser.error("--nodes takes the smallest and then the largest number of nodes, both at least 1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = TrainingPlan(seed=arguments.seed, decisions=arguments.decisions, n_nodes=tuple(arguments.nodes))
    card = train(plan, arguments.out)
    logger.info("%s written to %s", card.version, arguments.out)
