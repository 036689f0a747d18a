"""A rule as a version of the policy: what the gate promotes where a rule is better than everything that was learnt."""

from __future__ import annotations

from dataclasses import replace

from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import WAITING, Placement
from rl_agent.placing.rules import make_rule
from rl_agent.policy.file import LoadedPolicy, PolicyCard
from rl_agent.policy.learned_placer import LearnedPlacer


class RulePolicy:
    """Places by the rule that a policy's card plays, under the policy's version.

    Args:
        card: `plays` names one of `rl_agent.placing.rules.RULES`.
        ageing: of the joint order, where the rule decides in it.
    """

    def __init__(self, card: PolicyCard, ageing: float = JOINT_AGEING) -> None:
        self.card = card
        self._rule = make_rule(card.plays, ageing)

    @property
    def name(self) -> str:
        """Return the name of the rule."""
        return self._rule.name

    @property
    def policy_version(self) -> str | None:
        """Return the version the policy's card names."""
        return self.card.version

    def place(self, observation: Observation) -> Placement:
        """Answer as the rule does."""
        placement = self._rule.place(observation)
        placed = [row for row, node in enumerate(placement.node.tolist()) if node != WAITING]
        return replace(placement, versions=dict.fromkeys(placed, self.card.version))


def placer_of(
    policy: LoadedPolicy, *, exploration: float = 0.0, ageing: float = JOINT_AGEING
) -> LearnedPlacer | RulePolicy:
    """Return the placer that serves a policy: its network, or the rule that it plays."""
    if policy.card.plays:
        return RulePolicy(policy.card, ageing)
    return LearnedPlacer(policy=policy, exploration=exploration, ageing=ageing)
