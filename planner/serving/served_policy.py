"""Serves the learned policy, and keeps the planner placing when it cannot answer."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from rl_agent.errors import PolicyError
from rl_agent.experience.decision import Decision
from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import Placement, Placer
from rl_agent.placing.rules import EarliestCompletionPlacer
from rl_agent.policy.file import load_policy, parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer, PolicyOf, place_each, shipped_policy
from rl_agent.policy.registry import PolicyState, policy_files, serving_policies
from rl_agent.policy.rule_policy import RulePolicy, placer_of

logger = logging.getLogger(__name__)


class ServedPolicy:
    """The learned policies in use; earliest completion places whenever they cannot answer.

    The promoted version of the registry decides; while none is promoted, the policy of the settings does. A canary
    decides about a share of the jobs, the same ones whenever they are reconsidered. Where a rule is promoted, it
    decides about whole batches, and no canary does. A policy cannot answer when it is
    missing or damaged, does not fit, or answers NaN (docs/faults.md, row 24). The log then says why, once, and every
    decision is logged under the name of the placer that made it.

    Args:
        folder: the policy of the settings; None is the one that ships with the package.
        exploration, ageing: as in `LearnedPlacer`.
    """

    def __init__(self, folder: Path | None, *, exploration: float = 0.0, ageing: float = JOINT_AGEING) -> None:
        self._exploration = exploration
        self._ageing = ageing
        self._rule = EarliestCompletionPlacer()
        self._of_settings = self._load(folder)
        self._policies: dict[str, LearnedPlacer | RulePolicy | None] = {}
        self._serving: dict[str, tuple[str, float]] = {}
        self._answering: Placer = self._of_settings or self._rule
        self._last_problem = ""

    @property
    def name(self) -> str:
        """Return the name of the placer that made the last decision."""
        return self._answering.name

    @property
    def policy_version(self) -> str | None:
        """Return the version of the policy that decides about all jobs but the canary's, None for the rule."""
        return self._answering.policy_version

    def refresh(self, connection: Connection) -> None:
        """Re-read the registry; jobs are not touched, the new policy makes the next decision."""
        serving = serving_policies(connection)
        if serving == self._serving:
            return
        for state in PolicyState:
            version, share = serving.get(state, (None, 0.0))
            if version == self._serving.get(state, (None, 0.0))[0]:
                continue
            self._policies.pop(state, None)
            if version is not None:
                self._policies[state] = self._load_version(connection, version)
            logger.info("policy %s is %s%s", version or "of the settings", state, f" ({share:.0%})" if share else "")
        self._serving = serving

    def place(self, observation: Observation) -> Placement:
        """Answer with the policies, or with earliest completion if they cannot."""
        promoted = self._policies.get(PolicyState.PROMOTED, self._of_settings)
        if isinstance(promoted, RulePolicy):
            self._answering = promoted
            return promoted.place(observation)
        if promoted is not None:
            for policy_of in self._shares(promoted):
                try:
                    placement = place_each(observation, policy_of, self._ageing)
                except PolicyError as exc:
                    self._say(f"falling back to the next policy, finally to earliest-completion: {exc}")
                else:
                    self._answering = promoted
                    return placement
        self._answering = self._rule
        return self._rule.place(observation)

    def beside(self, decision: Decision) -> dict[str, str | None]:
        """Return what the policy in the shadow would have chosen, for the experience row of `decision`."""
        shadow = self._policies.get(PolicyState.SHADOW)
        node = None
        if isinstance(shadow, LearnedPlacer):
            probabilities = shadow.probabilities(decision.rows, decision.latent_action)
            node = decision.nodes[int(probabilities.argmax())] if np.isfinite(probabilities).all() else None
        return {"shadow_version": None if shadow is None else shadow.policy_version, "shadow_node": node}

    def _shares(self, promoted: LearnedPlacer) -> list[PolicyOf]:
        """Return which policy decides about which job; the second entry is the fallback if the canary has no answer."""
        canary = self._policies.get(PolicyState.CANARY)
        if not isinstance(canary, LearnedPlacer):
            return [lambda _job: promoted]
        version, share = self._serving[PolicyState.CANARY]
        return [lambda job: canary if is_in_share(job, version, share) else promoted, lambda _job: promoted]

    def _load(self, folder: Path | None) -> LearnedPlacer | RulePolicy | None:
        try:
            return placer_of(
                load_policy(folder or shipped_policy()), exploration=self._exploration, ageing=self._ageing
            )
        except PolicyError as exc:
            self._refuse(exc)
            return None

    def _load_version(self, connection: Connection, version: str) -> LearnedPlacer | RulePolicy | None:
        try:
            policy = parse_policy(version, policy_files(connection, version))
            return placer_of(policy, exploration=self._exploration, ageing=self._ageing)
        except PolicyError as exc:
            self._refuse(exc)
            return None

    @staticmethod
    def _refuse(exc: PolicyError) -> None:
        logger.error("the policy cannot be served, falling back to earliest-completion: %s", exc)

    def _say(self, problem: str) -> None:
        if problem != self._last_problem:
            logger.error("a policy did not answer; %s", problem)
            self._last_problem = problem


def is_in_share(job: str, version: str, share: float) -> bool:
    """Return whether the canary `version`, with its `share` of all jobs, decides about this one; it never changes."""
    digest = hashlib.blake2b(f"{version}/{job}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64
