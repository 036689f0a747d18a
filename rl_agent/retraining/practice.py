"""The learning of one round of retraining: what to start from, search, gradient steps, validations, checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from rl_agent.edge_placement.scenario import PlacementScenario
from rl_agent.ladts.numpy_chain import NodeDenoiserWeights
from rl_agent.policy.export import reset_actor
from rl_agent.policy.file import LoadedPolicy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.policy.rows import CORRECTABLE_RULES
from rl_agent.retraining.budget import LEARNED_BY, SEARCHED_BY, VALIDATED_BY, OutOfTimeError, RoundBudget
from rl_agent.retraining.checkpoint import RoundState
from rl_agent.retraining.gate import PlannerSettings, play
from rl_agent.retraining.learner import Learner
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.samples import Samples
from rl_agent.retraining.search import Search
from rl_agent.retraining.split import Split
from rl_agent.retraining.twin import Twin

logger = logging.getLogger(__name__)

TRIALS_PER_SAVE = 10
"""Trials between two checkpoints, which are lost when a round is killed: seconds at most sites."""
WARM_UP_SHARE = 0.25
"""Of the time for learning, at most, that new critics are trained before the actor."""


class Practice:
    """Learns in the twin until the plan is done or its time is over; keeps what does best on the validations.

    What time cuts off, a trial or a validation, does not count.

    Args:
        twin: of the installation.
        split: the scenarios to learn and to validate on.
        serving: the policy that serves.
        planner: the planner's settings.
        plan: bounds.
        save: stores the state, from which the next round resumes if this one is killed.
        budget: the round's time.

    Attributes:
        state: how far the round is.
        s_per_job: seconds of playing one job in the twin, measured on the way; 0 before the first.
    """

    def __init__(
        self,
        twin: Twin,
        split: Split,
        serving: LoadedPolicy,
        planner: PlannerSettings,
        plan: RetrainingPlan,
        save: Callable[[RoundState], None],
        budget: RoundBudget,
    ) -> None:
        self._twin = twin
        self._split = split
        self._serving = serving
        self._planner = planner
        self._plan = plan
        self._save = save
        self._budget = budget
        self._phase = budget.phase("measuring the serving policy", SEARCHED_BY)
        self._serving_s = np.inf
        self._played_s, self._played = 0.0, 0
        self.state = RoundState(
            base=serving.card.sha256, rule=serving.card.rule, last_id=0, best=serving.weights, best_s=np.inf
        )

    @property
    def best(self) -> LoadedPolicy:
        """Return the policy that has done best on the validations so far."""
        return self._policy(self.state.best)

    def run(self, samples: Samples, saved: RoundState | None = None) -> LoadedPolicy | None:
        """Return the policy that did best on the validations; None if the one that serves did.

        Args:
            samples: logged experience.
            saved: state that the last round has left.
        """
        with suppress(OutOfTimeError):
            self.prepare(samples.last_id, saved)
            self._search()
            self._learn(samples)
        return self.best if self.state.best_s < self._serving_s else None

    def prepare(self, last_id: int, saved: RoundState | None = None) -> None:
        """Set the state to start from.

        A killed round resumes from its `saved` state. A new one starts from the serving policy or from a plain rule,
        whichever does best on the validations, and takes over the critics of another round.
        """
        starts = [self._serving, *plain_rules(self._serving)]
        means_s = [self.mean_delay_s(start, self._split.validation) for start in starts]
        self._serving_s, best_s = means_s[0], min(means_s)
        start = starts[means_s.index(best_s)]
        base = self._serving.card.sha256
        fresh = RoundState(base=base, rule=start.card.rule, last_id=last_id, best=start.weights, best_s=best_s)
        if saved is None:
            self.state = fresh
        elif saved.is_of_round(fresh):
            self.state = saved
            logger.info("resuming after %d trials and %d decisions", saved.trials, saved.decisions)
        else:
            self.state = replace(fresh, learner=saved.critics)

    @property
    def s_per_job(self) -> float:
        """Return the seconds that one job takes to be played."""
        return self._played_s / max(self._played, 1)

    def mean_delay_s(self, policy: LoadedPolicy, scenarios: Sequence[PlacementScenario]) -> float:
        """Return the mean service delay under `policy` over all jobs of `scenarios`.

        Raises:
            OutOfTimeError: this part of the round has no time left.
        """
        began = time.monotonic()
        estimates, check = self._twin.estimates, self._phase.check
        delays = [play(self._placer(policy), one, estimates, self._planner, check) for one in scenarios]
        self._played_s += time.monotonic() - began
        self._played += sum(len(one) for one in delays)
        return float(np.concatenate(delays).mean())

    def _placer(self, policy: LoadedPolicy) -> LearnedPlacer:
        return LearnedPlacer(policy=policy, ageing=self._planner.joint_ageing)

    # The search

    def _search(self) -> None:
        """Perturb the weights until the trials are made or the time for it is over."""
        if self.state.is_searched:
            return
        self._phase = self._budget.phase("searching in the twin", SEARCHED_BY)
        self._phase.done = self.state.trials / self._plan.trials if self._plan.trials else 1.0
        with suppress(OutOfTimeError):
            search = Search(
                self.state.best,
                lambda weights: self.mean_delay_s(self._policy(weights), self._split.search),
                self._plan.seed + self.state.trials,  # a resumed search tries others
            )
            while self.state.trials < self._plan.trials:
                self._try_once(search)
        self._advance(is_searched=True)
        self._save(self.state)

    def _try_once(self, search: Search) -> None:
        is_found = search.step()
        self._advance(trials=self.state.trials + 1)
        self._phase.done = self.state.trials / self._plan.trials
        if is_found:
            self._validate(search.best, {"trials": self.state.trials})
        if self.state.trials % TRIALS_PER_SAVE == 0:
            self._save(self.state)

    # The learner

    def _learn(self, samples: Samples) -> None:
        """Learn from decisions in the twin until the plan's number is made or the time for it is over."""
        self._phase = self._budget.phase("learning in the twin", LEARNED_BY)
        self._phase.done = self.state.decisions / self._plan.decisions
        learner = self._learner(samples)
        while self.state.decisions < self._plan.decisions and self._phase.goes_on():
            self._learn_until_validation(learner)

    def _learner(self, samples: Samples) -> Learner:
        """Return a learner with the parameters of the state, or at least with critics that have been trained."""
        learner = Learner(self.best, self._split.learning, self._planner, self._plan.seed)
        learner.add_experience(samples, self._plan.newest, self._phase.check)
        if self.state.decisions and learner.restore(self.state.learner):
            return learner
        self._advance(decisions=0)
        if not learner.restore(self.state.critics, prefix="critic"):
            self._warm_up(learner)
        return learner

    def _warm_up(self, learner: Learner) -> None:
        """Train new critics first, and put back the actor, which they have spoilt meanwhile."""
        until = self._budget.spent + WARM_UP_SHARE * (LEARNED_BY - self._budget.spent)
        phase = self._budget.phase("warming up the critics", until)
        learner.learn(self._plan.round_decisions, lambda _decisions: phase.goes_on())
        reset_actor(learner.model, self.state.best)

    def _learn_until_validation(self, learner: Learner) -> None:
        plan, phase, done, before = self._plan, self._phase, self.state.decisions, learner.model.num_timesteps

        def goes_on(decisions: int) -> bool:
            phase.done = (done + decisions - before) / plan.decisions
            return phase.goes_on()

        learner.learn(min(plan.round_decisions, plan.decisions - done), goes_on)
        self._advance(decisions=done + learner.model.num_timesteps - before, learner=learner.state())
        self._save(self.state)
        self._phase = self._budget.phase("validating", VALIDATED_BY)
        self._validate(learner.weights, {"decisions": self.state.decisions})
        self._phase = phase
        self._save(self.state)

    # The state

    def _validate(self, weights: NodeDenoiserWeights, reached: dict[str, Any]) -> None:
        """Play `weights` on the validations, and keep them if they are the best."""
        mean_s = self.mean_delay_s(self._policy(weights), self._split.validation)
        self._advance(rounds=(*self.state.rounds, {**reached, "mean_delay_s": round(mean_s, 4)}))
        if mean_s < self.state.best_s:
            self._advance(best=weights, best_s=mean_s)

    def _policy(self, weights: NodeDenoiserWeights) -> LoadedPolicy:
        return LoadedPolicy(card=replace(self._serving.card, rule=self.state.rule), weights=weights)

    def _advance(self, **reached: Any) -> None:
        self.state = replace(self.state, **reached)


def plain_rules(policy: LoadedPolicy) -> list[LoadedPolicy]:
    """Return a policy for each rule that a policy can correct; it plays the rule, as its network's output is zero."""
    silent = {name: np.zeros_like(getattr(policy.weights, name)) for name in ("output_weight", "output_bias")}
    weights = replace(policy.weights, **silent)
    return [LoadedPolicy(card=replace(policy.card, rule=rule), weights=weights) for rule in CORRECTABLE_RULES]
