"""Predicted quantiles that hold: a foretold delay, corrected by what recent ones came to.

What is foretold (`planner.state.eta`) rests on running estimates and a simple picture of the queue; how far it is off
depends on load, placer and hardware. So each prediction that came true leaves a score, ln(taken / foretold), and the
promised quantiles are the foretold seconds times e to a quantile of the newest scores.

Two things keep the promised shares true while the scores drift. Predictions that are still open count as well, with the
time they have taken so far, as censored scores: without them a growing queue would be judged by its quickest jobs. And
the level of each quantile moves by a step with every promise kept or broken. A promise is broken when it is overrun,
not when the result comes at last.

Source: I. Gibbs, E. Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021; E. L. Kaplan,
P. Meier, Nonparametric estimation from incomplete observations, JASA 53 (1958).
Differs: the scores are those of a sliding window, open predictions among them.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice

import numpy as np

from rl_agent.placing.estimates import FloatArray

SHARES = (0.5, 0.9)
"""Of the results that come within each promised time."""
STEPS = (0.03, 0.015)
"""Of the levels. Twice as much had worse shares on the scenarios of `benchmarks/eta_coverage.py`."""
LEVELS = (-0.06, 1.06)
"""Bounds of a level. Above 1 all scores so far are too small, below `MIN_LEVEL` all are too large. A level that is
far beyond 1 takes hundreds of results to come back."""
MIN_LEVEL = 0.02
"""One in fifty: the smallest of `MAX_SCORES`."""
MAX_SCORES = 50
"""Finished predictions that count, and oldest open ones: as good as 100 of each, and half of the cost."""
FIRST_SPREAD_LOG = 0.5
"""The 90th percentile over the median before anything is known: a factor of 1.6."""
BEYOND_LOG = 0.3
"""By how much a quantile beyond all scores exceeds the largest: a factor of 1.35 at a level of 1 or less."""
BEYOND_SLOPE = 16.0
"""By how much more for a level above 1, and less for one below `MIN_LEVEL`; at the bounds a factor of 3.5."""
MAX_SCORE = 40.0
"""A factor of 1e17: more says nothing more, and would overflow."""
MIN_S = 1e-6  # below any clock of a planner; a logarithm needs more than 0


class Stage(StrEnum):
    """When a promise is made."""

    ACCEPTED = "accepted"  #: with the job; it ends with the job's result
    PLACED = "placed"  #: with a placement; it ends with that attempt's result


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Predicted seconds from now to the result: the median, and what nine in ten do not exceed."""

    p50_s: float
    p90_s: float


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What was predicted, when (seconds on the planner's clock), and what was made of it."""

    foretold_s: float
    made_at: float
    eta: Eta

    def score(self, taken_s: float) -> float:
        """Return ln(taken / foretold)."""
        score = math.log(max(taken_s, MIN_S) / max(self.foretold_s, MIN_S))
        return min(max(score, -MAX_SCORE), MAX_SCORE)

    def deadlines(self) -> tuple[float, float]:
        """Return when each of the two quantiles is overrun."""
        return self.made_at + self.eta.p50_s, self.made_at + self.eta.p90_s


class Calibration:
    """Makes promises of one stage, and learns from how they end.

    Args:
        scores: of the newest finished predictions, the newest last; `levels` are those of the two quantiles.

    Attributes:
        scores, levels: as they are now; all that the ledger keeps.
    """

    def __init__(self, scores: Iterable[float] = (), levels: Sequence[float] = SHARES) -> None:
        self.scores = deque((float(score) for score in scores), maxlen=MAX_SCORES)
        self.levels = list(levels)
        self._open: dict[Hashable, Promise] = {}
        self._broken: dict[Hashable, int] = {}
        self._deadlines: list[tuple[float, int, Hashable, Promise]] = []
        self._entries = count()
        self._factors: tuple[float, tuple[float, float]] | None = None

    def promise(self, key: Hashable, foretold_s: float, now: float) -> Eta:
        """Return the promise for what was foretold, and remember it until its `key` is kept or forgotten."""
        promise = Promise(foretold_s=foretold_s, made_at=now, eta=self.eta(foretold_s, now))
        self.resume(key, promise)
        return promise.eta

    def resume(self, key: Hashable, promise: Promise, now: float = -math.inf) -> None:
        """Remember a promise that was made before; what it had overrun by `now` was counted then."""
        self._open[key] = promise
        self._broken[key] = sum(deadline < now for deadline in promise.deadlines())
        for deadline in promise.deadlines()[self._broken[key] :]:
            heapq.heappush(self._deadlines, (deadline, next(self._entries), key, promise))

    def eta(self, foretold_s: float, now: float) -> Eta:
        """Return what would be promised; nothing is remembered."""
        self._count_broken(now)
        if self._factors is None or self._factors[0] != now:
            self._factors = now, self._factors_at(now)
        p50, p90 = (foretold_s * factor for factor in self._factors[1])
        return Eta(p50_s=p50, p90_s=p90)

    def keep(self, key: Hashable, now: float) -> bool:
        """Learn that the result came `now`; return whether there was such a promise."""
        self._count_broken(now)
        promise = self._open.pop(key, None)
        if promise is None:
            return False
        for quantile in range(self._broken.pop(key), len(SHARES)):
            self._step(quantile, is_broken=False)
        self.scores.append(promise.score(now - promise.made_at))
        return True

    def forget(self, key: Hashable) -> None:
        """Learn nothing: no result will come."""
        self._open.pop(key, None)
        self._broken.pop(key, None)

    def _count_broken(self, now: float) -> None:
        """Count the promises that were overrun before `now`."""
        while self._deadlines and self._deadlines[0][0] < now:
            _, _, key, promise = heapq.heappop(self._deadlines)
            if self._open.get(key) is promise:
                self._step(self._broken[key], is_broken=True)
                self._broken[key] += 1

    def _step(self, quantile: int, *, is_broken: bool) -> None:
        step = STEPS[quantile] * (SHARES[quantile] - (0.0 if is_broken else 1.0))
        self.levels[quantile] = min(max(self.levels[quantile] + step, LEVELS[0]), LEVELS[1])
        self._factors = None

    def _factors_at(self, now: float) -> tuple[float, float]:
        going = [promise.score(now - promise.made_at) for promise in islice(self._open.values(), MAX_SCORES)]
        if not self.scores:
            return 1.0, math.exp(FIRST_SPREAD_LOG)
        p50, p90 = (math.exp(quantile) for quantile in quantiles(self.scores, going, self.levels))
        return p50, max(p50, p90)


def quantiles(scores: Sequence[float], going: Sequence[float], levels: Sequence[float]) -> list[float]:
    """Return the quantiles at `levels` of the next score, by Kaplan and Meier.

    Args:
        scores: (n,) at least one.
        going: (m,) lower bounds of scores that are not known yet.
        levels: one for each quantile.
    """
    values: FloatArray = np.concatenate([scores, going])
    order = np.argsort(values, kind="stable")
    values, is_known = values[order], order < len(scores)
    at_risk = 1.0 + np.arange(len(values), 0, -1)  # the next one is among them
    reached = 1.0 - np.cumprod(1.0 - is_known / at_risk)
    found = np.searchsorted(reached, np.asarray(levels) - 1e-9)
    beyond = float(values[-1]) + BEYOND_LOG
    values = np.append(values, beyond)
    least = float(min(scores))
    return [
        (least if level < MIN_LEVEL else float(values[n])) + _outside(level)
        for n, level in zip(found, levels, strict=True)
    ]


def _outside(level: float) -> float:
    """Return what a level outside of all scores adds to the outermost."""
    return BEYOND_SLOPE * (max(level - 1.0, 0.0) + min(level - MIN_LEVEL, 0.0))
