"""Makes the placer that the settings name, and keeps the planner placing when a learned policy cannot."""

from __future__ import annotations

import logging
from pathlib import Path

from broker_config.settings import Settings
from rl_agent.errors import PolicyError
from rl_agent.observation import Observation
from rl_agent.placers import RULES, EarliestCompletionPlacer, Placement, Placer

logger = logging.getLogger(__name__)

LEARNED = "lad-ts"


class ServedPolicy:
    """A learned placer, with earliest completion in its place whenever it cannot answer.

    It cannot when its folder is missing, damaged or does not fit, and when it answers NaN (FAULTS.md, row 24): the log
    says why once, and every decision is logged under the name of the placer that made it.

    Args:
        folder: the policy's folder; None is the one that ships with the package.
    """

    def __init__(self, folder: Path | None) -> None:
        self._rule = EarliestCompletionPlacer()
        self._learned = _load(folder)
        self._answering: Placer = self._learned or self._rule
        self._last_problem = ""

    @property
    def name(self) -> str:
        """Return the name of the placer that made the last decision."""
        return self._answering.name

    @property
    def policy_version(self) -> str | None:
        """Return the version of the policy that made the last decision, None for the rule."""
        return self._answering.policy_version

    def place(self, observation: Observation) -> Placement:
        """Answer with the policy, or with earliest completion if the policy cannot."""
        if self._learned is not None:
            try:
                placement = self._learned.place(observation)
            except PolicyError as exc:
                self._say(f"earliest-completion places in its stead: {exc}")
            else:
                self._answering = self._learned
                self._last_problem = ""
                return placement
        self._answering = self._rule
        return self._rule.place(observation)

    def _say(self, problem: str) -> None:
        if problem != self._last_problem:
            logger.error("the policy did not answer; %s", problem)
            self._last_problem = problem


def make_placer(settings: Settings) -> Placer:
    """Return the placer named by `LADLE_PLACER`."""
    if settings.placer == LEARNED:
        return ServedPolicy(Path(settings.policy) if settings.policy else None)
    return RULES[settings.placer]()


def _load(folder: Path | None) -> Placer | None:
    from rl_agent.learned_placer import LearnedPlacer

    try:
        return LearnedPlacer(folder)
    except PolicyError as exc:
        logger.error("the policy cannot be served; earliest-completion places in its stead: %s", exc)
        return None
