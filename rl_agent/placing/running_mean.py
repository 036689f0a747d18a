"""Running mean and spread of seconds that differ by factors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PRIOR_LOG_STD = 0.7  # a factor of 2 either way
FIRST_STD_LOG = 0.1  # after one measurement, until the second tells how much they differ
MIN_STD_LOG = 0.05  # otherwise equal measurements would make every later one a surprise
MAX_STD_LOG = 40.0  # a factor of 1e17 either way: more than the range of speeds
MIN_MEASURED = 1e-12  # s: below any clock's resolution
MIN_COUNT = 3  # of observations, before one can be a surprise
GUESS_SHARE = 0.1  # of a guess in the first measured estimate: of a factor of 17 it leaves 1.3


@dataclass(kw_only=True)
class RunningLogMean:
    """Exponentially forgetting mean and spread of the logarithm of a positive quantity.

    Seconds on heterogeneous machines differ by factors, so the logarithm is averaged. The first observations weigh 1,
    1/2, 1/3 ... until `forgetting` is reached. A surprise of more than `surprise_stds` standard deviations counts as if
    it were so far only, since it may be an outlier. A second one in a row is none: it counts in full, with twice the
    weight, so that a node that throttles to a tenth is believed within a few jobs (docs/faults.md, row 23).

    Attributes:
        surprise: -1 or 1 if the last observation was a surprise, by its direction. Lost when the planner restarts.
    """

    mean_log: float
    std_log: float = PRIOR_LOG_STD
    count: int = 0
    forgetting: float = 0.3
    surprise_stds: float = 3.0
    surprise: float = field(default=0.0, compare=False)

    def observe(self, value: float) -> None:
        """Take one measured `value` > 0 into the estimate."""
        deviation = math.log(value) - self.mean_log
        weight = max(self.forgetting, 1.0 / (self.count + 1))
        limit = self.surprise_stds * max(self.std_log, MIN_STD_LOG)
        surprise = math.copysign(1.0, deviation) if self.count >= MIN_COUNT and abs(deviation) > limit else 0.0
        if surprise and surprise == self.surprise:
            weight = min(2.0 * weight, 1.0)
        elif surprise:
            deviation = surprise * limit
        self.surprise = surprise
        self.mean_log += weight * deviation
        spread = self.std_log**2 if self.count else 0.0
        self.std_log = math.sqrt((1.0 - weight) * (spread + weight * deviation**2)) if self.count else FIRST_STD_LOG
        self.count += 1

    def replace_guess(self, value: float) -> None:
        """Take the first measured `value` > 0 after a guess, of which hardly anything is left."""
        self.mean_log += (1.0 - GUESS_SHARE) * (math.log(value) - self.mean_log)
        self.std_log, self.count = FIRST_STD_LOG, 1

    @property
    def median(self) -> float:
        """Return the estimate itself, in the quantity's own unit."""
        return math.exp(self.mean_log)

    def is_between(self, low: float, high: float) -> bool:
        """Return whether the estimate lies in this range, with a spread that is less than the whole range of floats."""
        log_low, log_high = (math.log(max(bound, MIN_MEASURED)) for bound in (low, high))
        return log_low <= self.mean_log <= log_high and 0.0 <= self.std_log <= MAX_STD_LOG and self.count >= 0
