"""Notices when a node begins to need longer, or less, than predicted: a node that throttles, a driver that was changed.

Running estimates follow such a change by themselves within a few jobs; this is for the person who owns the node, and
for retraining, whose twin assumed the old speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALLOWANCE = 0.5
THRESHOLD = 6.0
LARGEST_STEP = 3.0
LEAST_SPREAD_LOG = 0.15
CALM_OUTCOMES = 20


@dataclass(kw_only=True)
class Drift:
    """A two-sided CUSUM of standardised log prediction errors, for one node and model.

    Each error ln(taken / predicted) is divided by the predicted spread (at least `LEAST_SPREAD_LOG`) and cut at
    `LARGEST_STEP`; errors beyond `ALLOWANCE` add up, and the alarm is raised above `THRESHOLD`: by three gross errors
    or a dozen of one standard deviation. It ends after `CALM_OUTCOMES` outcomes in a row below half the threshold.

    Source: E. S. Page, Continuous inspection schemes, Biometrika 41 (1954).

    Attributes:
        is_alarm: raised and not over.
        factor: taken over predicted where the error was largest since the sums were last zero.
    """

    slower: float = 0.0
    faster: float = 0.0
    factor: float = 1.0
    is_alarm: bool = False
    calm: int = 0

    def observe(self, *, taken_s: float, predicted_s: float, spread_log: float) -> bool:
        """Take one outcome in; return whether the alarm was raised or ended by it."""
        if taken_s <= 0.0 or predicted_s <= 0.0:
            return False
        error = math.log(taken_s / predicted_s)
        step = error / max(spread_log, LEAST_SPREAD_LOG)
        step = min(max(step, -LARGEST_STEP), LARGEST_STEP)
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
