"""Notices when a node begins to need longer, or less, than predicted: a node that throttles, a driver that was changed.

Running estimates follow such a change by themselves within a few jobs, and then predict well again; so what is watched
is the error against the estimate of before. It is for the person who owns the node, and for retraining, whose twin
assumed the old speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALLOWANCE = 0.5
THRESHOLD = 6.0
MAX_STEP_STDS = 3.0
MIN_SPREAD_LOG = 0.15
CALM_OUTCOMES = 20


@dataclass(kw_only=True)
class Drift:
    """A two-sided CUSUM of standardised log prediction errors, for one node and model.

    Each error ln(taken / predicted) is divided by the predicted spread (at least `MIN_SPREAD_LOG`) and cut at
    `MAX_STEP_STDS`; errors beyond `ALLOWANCE` add up, and the alarm is raised above `THRESHOLD`: by three gross errors
    or a dozen of one standard deviation. As long as errors add up, the prediction is that of before the first of them;
    once the alarm is raised, it is the running one, and the alarm ends after `CALM_OUTCOMES` outcomes in a row below
    half the threshold.

    Source: E. S. Page, Continuous inspection schemes, Biometrika 41 (1954).

    Attributes:
        is_alarm: raised and not over.
        factor: taken over predicted where the error was largest since the sums were last zero.
        level_log: logarithm of the estimate that is compared with, and its `spread_log`.
    """

    slower: float = 0.0
    faster: float = 0.0
    factor: float = 1.0
    is_alarm: bool = False
    calm: int = 0
    level_log: float = 0.0
    spread_log: float = 0.0

    def observe(self, *, taken_s: float, predicted_s: float, level_log: float, spread_log: float) -> bool:
        """Take one outcome in; return whether the alarm was raised or ended by it.

        Args:
            taken_s: seconds it took.
            predicted_s: seconds by the running estimate, which has not learnt from it yet.
            level_log: logarithm of that estimate, in any unit.
            spread_log: its standard deviation.
        """
        if taken_s <= 0.0 or predicted_s <= 0.0:
            return False
        if self.is_alarm or max(self.slower, self.faster) == 0.0:
            self.level_log, self.spread_log = level_log, spread_log
        error = math.log(taken_s / predicted_s) + level_log - self.level_log
        step = error / max(self.spread_log, MIN_SPREAD_LOG)
        step = min(max(step, -MAX_STEP_STDS), MAX_STEP_STDS)
        self.slower = max(self.slower + step - ALLOWANCE, 0.0)
        self.faster = max(self.faster - step - ALLOWANCE, 0.0)
        if max(self.slower, self.faster) == 0.0 and not self.is_alarm:
            self.factor = 1.0
        elif abs(error) > abs(math.log(self.factor)):
            self.factor = math.exp(error)
        was_alarm = self.is_alarm
        self._judge()
        return self.is_alarm != was_alarm

    def _judge(self) -> None:
        highest = max(self.slower, self.faster)
        self.calm = self.calm + 1 if highest < THRESHOLD / 2 else 0
        if highest > THRESHOLD:
            self.is_alarm = True
        elif self.calm >= CALM_OUTCOMES:
            self.is_alarm = False
