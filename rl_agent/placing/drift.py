"""Detects that a node has become slower or faster than predicted: it throttles, or its driver was changed.

Running estimates follow such a change within a few jobs and then predict well again. So errors are measured against the
estimate from before the change. The alarm is for the owner of the node, and for retraining, whose twin assumed the old
speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALLOWANCE = 0.5  # half of the smallest shift to detect, one standard deviation: Page's choice
THRESHOLD = 6.0  # three gross errors add 3 (MAX_STEP_STDS - ALLOWANCE) = 7.5, and two only 5
MAX_STEP_STDS = 3.0  # so that one outlier, however large, raises no alarm
MIN_SPREAD_LOG = 0.15  # 15 % off is as good as a prediction gets, whatever a few equal jobs make the spread seem
CALM_OUTCOMES = 20  # an alarm should not end before somebody looks; docs/operations.md names the number


@dataclass(kw_only=True)
class Drift:
    """A two-sided CUSUM of standardised log prediction errors, for one node and model.

    Each error ln(taken / predicted) is divided by the predicted spread (at least `MIN_SPREAD_LOG`) and cut at
    `MAX_STEP_STDS`. Errors beyond `ALLOWANCE` add up, and the alarm is raised above `THRESHOLD`: by three gross errors,
    or a dozen of one standard deviation. While errors add up, outcomes are compared with the estimate from before the
    first of them; under an alarm, with the running one. The alarm ends after `CALM_OUTCOMES` outcomes in a row below
    half the threshold.

    Source: E. S. Page, Continuous inspection schemes, Biometrika 41 (1954).

    Attributes:
        is_alarm: raised and not over.
        factor: taken / predicted at the largest error since both sums were last zero.
        level_log: logarithm of the estimate that outcomes are compared with; `spread_log` is its spread.
    """

    slower: float = 0.0
    faster: float = 0.0
    factor: float = 1.0
    is_alarm: bool = False
    calm: int = 0
    level_log: float = 0.0
    spread_log: float = 0.0

    def observe(self, *, taken_s: float, predicted_s: float, level_log: float, spread_log: float) -> bool:
        """Take in one outcome; return whether it raised or ended the alarm.

        Args:
            taken_s: seconds it took.
            predicted_s: seconds by the running estimate, before it learns from this outcome.
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
