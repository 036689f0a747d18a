"""What a round may promote: what it has learnt, and the rule that wins, each as a policy with its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from broker_config.settings import Settings
from rl_agent.placing.placer import Placer
from rl_agent.policy.file import LoadedPolicy, PolicyCard, PolicyFiles, dump_policy
from rl_agent.policy.learned_placer import LearnedPlacer
from rl_agent.retraining.gate import Gate, RuleWin
from rl_agent.retraining.inputs import RoundInputs
from rl_agent.retraining.off_policy import estimate
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.practice import plain_rules
from rl_agent.retraining.split import HELD_OUT_SHARE
from rl_agent.retraining.twin import Twin, describe

MAX_ESTIMATED = 500
"""Newest decisions of an off-policy estimate, which is shown and decides nothing: a second at 50 nodes."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate made of one policy.

    Attributes:
        trial: what it measured, for the registry.
    """

    version: str
    files: PolicyFiles
    reason: str
    trial: Mapping[str, Any]
    is_passed: bool


class Candidates:
    """The candidates of one round.

    Args:
        inputs: of the round.
        twin: of the installation.
        plan: bounds.
        settings: with which policies are served: exploration, ageing.
        learnt: what was learnt, if it is better in the twin than what serves.
    """

    def __init__(
        self, inputs: RoundInputs, twin: Twin, plan: RetrainingPlan, settings: Settings, learnt: LoadedPolicy | None
    ) -> None:
        self._inputs = inputs
        self._twin = twin
        self._plan = plan
        self._settings = settings
        if learnt is None and inputs.served is None:
            learnt = inputs.start
        self._choices = [] if learnt is None else [learnt, *plain_rules(inputs.start)]

    @property
    def placers(self) -> list[Callable[[], Placer]]:
        """Return makers of what was learnt and of the plain rules that a policy can correct; empty: nothing was."""
        ageing = self._settings.joint_ageing
        return [partial(LearnedPlacer, policy=choice, ageing=ageing) for choice in self._choices]

    def verdicts(self, gate: Gate, rounds: Sequence[Mapping[str, Any]]) -> list[Judged]:
        """Return what is to be stored, the one that decides the round last.

        Args:
            gate: that has played `placers`.
            rounds: the validations of what was learnt, for its card.
        """
        learnt, passed = self._learnt(gate, rounds) if self._choices else (None, None)
        win = gate.winning_rule(passed)
        if win is None:
            return [] if learnt is None else [learnt]
        if learnt is None:
            return [self._rule(win)]
        beaten = replace(learnt, is_passed=False, reason=f"{learnt.reason}; {win.rule} is better")
        return [beaten, self._rule(win)]

    def _learnt(self, gate: Gate, rounds: Sequence[Mapping[str, Any]]) -> tuple[Judged, int | None]:
        """Judge what was learnt, and the plain rules; return the index of the one that passed."""
        chosen, trial = gate.first_to_pass()
        candidate = self._choices[chosen]
        version = self._version("retrained")
        _, files = dump_policy(
            candidate.weights,
            version=version,
            n_denoising_steps=candidate.card.n_denoising_steps,
            training=self._training(candidate.card, rounds),
            rule=candidate.card.rule,
        )
        measured = {**trial.to_json(), "off_policy": self._estimates(candidate)}
        judged = Judged(version=version, files=files, reason=trial.reason, trial=measured, is_passed=trial.is_passed)
        return judged, chosen if trial.is_passed else None

    def _rule(self, win: RuleWin) -> Judged:
        """Return the rule that wins as a policy: learning goes on from the network beside it."""
        version, start = self._version(win.rule), self._inputs.start
        _, files = dump_policy(
            start.weights,
            version=version,
            n_denoising_steps=start.card.n_denoising_steps,
            training=self._training(start.card, []),
            rule=start.card.rule,
            plays=win.rule,
        )
        return Judged(version=version, files=files, reason=win.reason, trial=win.to_json(), is_passed=True)

    def _version(self, name: str) -> str:
        return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{self._inputs.samples.last_id}"

    def _training(self, card: PolicyCard, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what a candidate's card says of how it was made."""
        samples = self._inputs.samples
        return {
            "command": "ladle retrain",
            "from": card.version,
            **vars(self._plan),
            "rounds": list(rounds),
            "twin": describe(self._twin),
            "experience": {"kept": len(samples.kept), "refused": dict(samples.refused), "last_id": samples.last_id},
        }

    def _estimates(self, candidate: LoadedPolicy) -> dict[str, dict[str, float | None]]:
        """Return off-policy estimates on the newest experience."""
        kept = self._inputs.samples.kept
        newest = kept[-min(max(int(len(kept) * HELD_OUT_SHARE), 1), MAX_ESTIMATED) :]
        found = {}
        for name, policy in (("candidate", candidate), ("serving", self._inputs.start)):
            values = vars(estimate(LearnedPlacer(policy=policy), newest, self._settings.exploration))
            found[name] = {name: None if value is None else round(value, 4) for name, value in values.items()}
        return found
