"""The learning of one round of retraining: what to start from, search, gradient steps, validations, checkpoints.

The newest arrivals are held out for the gate. Episodes and validations are drawn from the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.ladts.numpy_chain import NodeDenoiserWeights
from rl_agent.policy.export import reset_actor
from rl_agent.policy.file import LoadedPolicy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import CORRECTABLE_RULES
from rl_agent.retraining.checkpoint import read_checkpoint, write_checkpoint
from rl_agent.retraining.gate import PlannerSettings, play
from rl_agent.retraining.learner import Learner
from rl_agent.retraining.samples import Samples
from rl_agent.retraining.search import Search
from rl_agent.retraining.twin import Twin

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.3
PACES = (0.8, 1.25)
TRIALS_PER_SAVE = 10
HELD_OUT_SEED = 20_000
SEARCH_SEED = 5_000
VALIDATION_SEED = 10_000
ProgressCallback = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class RetrainingPlan:
    """How much one round may do.

    Attributes:
        trials: disturbed policies tried at most.
        decisions: made in the twin at most.
        seconds: of search and learning at most, half for each; reading, fitting and the gate come on top.
        round_decisions: between two validations, each with a checkpoint.
        newest: logged decisions read at most.
        episode_jobs: length of an episode in the twin.
        episodes: drawn for learning. searched: drawn for the search.
        validations: scenarios that choose among the rounds, from the arrivals that are not held out.
        held_out: jobs played at the gate at most. repeats: how often, half of the times with throttling.
    """

    trials: int = 400
    decisions: int = 12_000
    seconds: float = 240.0
    round_decisions: int = 2_000
    newest: int = 10_000
    episode_jobs: int = 120
    episodes: int = 24
    searched: int = 10
    validations: int = 6
    held_out: int = 1_000
    repeats: int = 6
    seed: int = 0


class Practice:
    """Learns in the twin until the plan is done, and remembers the best policy seen on the validations.

    Args:
        twin: of the installation.
        serving: what serves now.
        rules: the planner's settings.
        plan: bounds.
        checkpoint: file that a killed round goes on from.
        progress: told what is done and how far it is.

    Attributes:
        rounds: mean delay on the validations after each find of the search and each round of decisions.
    """

    def __init__(
        self,
        twin: Twin,
        serving: LoadedPolicy,
        rules: PlannerSettings,
        plan: RetrainingPlan,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> None:
        self.twin = twin
        self.serving = serving
        self.rounds: list[dict[str, Any]] = []
        self._rules = rules
        self._plan = plan
        self._checkpoint = checkpoint
        self._progress = progress
        self._training_jobs = max(len(twin.jobs) - min(int(len(twin.jobs) * HELD_OUT_SHARE), plan.held_out), 1)
        generator = np.random.default_rng(plan.seed)
        self._validations = [self._episode(generator, VALIDATION_SEED + n) for n in range(plan.validations)]
        self._searched = [self._episode(generator, SEARCH_SEED + n) for n in range(plan.searched)]
        self._episodes = [self._episode(generator, n) for n in range(plan.episodes)]
        starts = [serving, *self.plain_rules]
        means_s = [self._mean_delay_s(start, self._validations) for start in starts]
        self._serving_s, self._best_s = means_s[0], min(means_s)
        start = starts[means_s.index(self._best_s)]  # a rule only where what serves does worse
        self._card, self._best = start.card, start.weights
        self._kept: dict[str, th.Tensor] = {}

    def held_out(self) -> list[PlacementScenario]:
        """Return the newest arrivals, as often as the plan says, half of them with throttling."""
        first, last = self._training_jobs, len(self.twin.jobs)
        return [
            self.twin.scenario(first, last, HELD_OUT_SEED + n, throttles=n % 2 == 1) for n in range(self._plan.repeats)
        ]

    @property
    def plain_rules(self) -> list[LoadedPolicy]:
        """Return policies that play each rule a policy can be built on: the serving weights without an output."""
        card, weights = self.serving.card, self.serving.weights
        silent = {name: np.zeros_like(getattr(weights, name)) for name in ("output_weight", "output_bias")}
        return [
            LoadedPolicy(card=replace(card, rule=rule), weights=replace(weights, **silent))
            for rule in CORRECTABLE_RULES
        ]

    def run(self, samples: Samples) -> LoadedPolicy | None:
        """Return the policy that did best on the validations; None if the one that serves did."""
        note = {"base": self.serving.card.sha256, "rule": self._card.rule, "last_id": samples.last_id}
        tensors, saved = read_checkpoint(self._checkpoint) or ({}, {})
        if any(saved.get(name) != value for name, value in note.items()):
            saved = {}
        self._kept = {name: tensor for name, tensor in tensors.items() if name.startswith("critic")}
        if saved:
            self._take_up(tensors, saved)
        if not saved.get("is_searched"):
            self._search(note, int(saved.get("trials", 0)))
        learner = Learner(self._policy(self._best), self._episodes, self._rules, self._plan.seed)
        learner.take_in(samples, self._plan.newest)
        done = 0
        if saved.get("done") and learner.restore(tensors):
            done = int(saved["done"])
        elif not learner.restore(self._kept, prefix="critic"):
            self._warm_up(learner)
        began = time.monotonic()
        while done < self._plan.decisions and time.monotonic() - began < self._plan.seconds / 2:
            done = self._round(learner, done, began)
            self._kept = learner.state()
            self._save(note, is_searched=True, done=done)
        return self._policy(self._best) if self._best_s < self._serving_s else None

    def _take_up(self, tensors: dict[str, th.Tensor], saved: dict[str, Any]) -> None:
        """Go on with the best policy of a killed round."""
        self.rounds = list(saved["rounds"])
        if saved["best_s"] < self._best_s:
            best = {name: tensors[f"best.{name}"].numpy() for name in vars(self._best)}
            self._best, self._best_s = replace(self._best, **best), saved["best_s"]
        logger.info("going on after %d trials and %d decisions", saved.get("trials", 0), saved.get("done", 0))

    def _save(self, note: dict[str, Any], **reached: Any) -> None:
        """Write the checkpoint; `reached` says how far the round is."""
        best = {f"best.{name}": th.as_tensor(value) for name, value in vars(self._best).items()}
        now = {"rounds": self.rounds, "best_s": self._best_s}
        write_checkpoint(self._checkpoint, {**self._kept, **best}, {**note, **now, **reached})

    def _search(self, note: dict[str, Any], trials: int) -> None:
        """Disturb the weights as long as half of the time lasts; `trials` were made before the round was killed."""
        plan, began = self._plan, time.monotonic()
        search = Search(
            self._best, lambda weights: self._mean_delay_s(self._policy(weights), self._searched), plan.seed + trials
        )
        while trials < plan.trials and time.monotonic() - began < plan.seconds / 2:
            share = max(trials / plan.trials, (time.monotonic() - began) / (plan.seconds / 2))
            self._progress("searching in the twin", min(share, 1.0))
            trials += 1
            if search.step():
                self._consider(search.best, {"trials": trials})
            if trials % TRIALS_PER_SAVE == 0:
                self._save(note, trials=trials)
        self._save(note, is_searched=True)

    def _consider(self, weights: NodeDenoiserWeights, what: dict[str, Any]) -> None:
        """Play weights on the validations, and remember them if they are the best."""
        mean_s = self._mean_delay_s(self._policy(weights), self._validations)
        self.rounds.append({**what, "mean_delay_s": round(mean_s, 4)})
        if mean_s < self._best_s:
            self._best, self._best_s = weights, mean_s

    def _warm_up(self, learner: Learner) -> None:
        """Let critics that know nothing learn first, and put back the actor they have spoilt."""
        began, limit_s = time.monotonic(), self._plan.seconds / 8

        def goes_on(_decisions: int) -> bool:
            spent_s = time.monotonic() - began
            self._progress("warming up the critics", min(spent_s / limit_s, 1.0))
            return spent_s < limit_s

        learner.learn(self._plan.round_decisions, goes_on)
        reset_actor(learner.model, self._best)

    def _round(self, learner: Learner, done: int, began: float) -> int:
        """Learn until the next validation; return the decisions done."""
        plan, before = self._plan, learner.model.num_timesteps

        def goes_on(decisions: int) -> bool:
            spent_s = time.monotonic() - began
            share = max((done + decisions - before) / plan.decisions, spent_s / (plan.seconds / 2))
            self._progress("learning in the twin", min(share, 1.0))
            return spent_s < plan.seconds / 2

        learner.learn(min(plan.round_decisions, plan.decisions - done), goes_on)
        done += learner.model.num_timesteps - before
        self._consider(learner.weights, {"decisions": done})
        return done

    def _policy(self, weights: NodeDenoiserWeights) -> LoadedPolicy:
        return LoadedPolicy(card=self._card, weights=weights)

    def _mean_delay_s(self, policy: LoadedPolicy, scenarios: list[PlacementScenario]) -> float:
        delays = [
            play(LearnedPlacer(policy=policy), scenario, self.twin.estimates, self._rules) for scenario in scenarios
        ]
        return float(np.concatenate(delays).mean())

    def _episode(self, generator: np.random.Generator, seed: int) -> PlacementScenario:
        """Draw a stretch of the arrivals that are not held out, a little faster or slower than they were."""
        length = min(self._plan.episode_jobs, self._training_jobs)
        first = int(generator.integers(0, self._training_jobs - length + 1))
        pace = float(generator.uniform(*PACES))
        return self.twin.scenario(first, first + length, seed, pace=pace, throttles=seed % 2 == 1)
