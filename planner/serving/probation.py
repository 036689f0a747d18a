"""Rolls a promoted policy back if live service delays, compared with predictions, are significantly worse than before.

What is compared: y = ln(service delay / delay predicted at submit), of the jobs accepted since the promotion and
decided by the new version against the jobs accepted before it. The prediction at submit knows how much work lies ahead,
but not which policy will place it, so a burst of jobs is not held against the policy.

The statistic: delays of neighbouring jobs are correlated, so y is averaged over batches of `BATCH` jobs in order of
acceptance, and Welch's t is computed on the batch means, t = (m1 - m0) / sqrt(s1^2 / n1 + s0^2 / n0). The policy is
rolled back when t > `MAX_T` and m1 - m0 > ln(`MAX_RATIO`), with at least `MIN_BATCHES` batches on either side. After
`WATCHED` jobs it has passed.

Source: B. L. Welch, Biometrika 34 (1947); batch means: A. M. Law, Simulation Modeling and Analysis, section 9.5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from sqlalchemy import ColumnElement, Connection, select
from sqlmodel import col

from broker_config.messages import Delays, JobState
from planner.ledger.tables import JobRow
from rl_agent.placing.estimates import FloatArray
from rl_agent.policy.registry import policy, promoted_policy, rollback

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
BATCH = 8  # jobs: of a correlation of .8 between neighbours, .17 is left 8 jobs on
MIN_BATCHES = 5  # fewer say little about their spread
WATCHED = 800  # jobs after which the policy has passed; docs/retraining.md names both ends
MAX_T = 4.0  # p < 0.001 at 10 degrees of freedom: far out, because it is tested again every `LOOK_EVERY_S`
MAX_RATIO = 1.15  # a smaller difference, however certain, is not worth a rollback


class Probation:
    """Looks at the promoted policy every `LOOK_EVERY_S`."""

    def __init__(self) -> None:
        self._looked_at = -math.inf

    def look(self, connection: Connection, now: float) -> None:
        """Roll the promoted policy back if it does significantly worse than what decided before it."""
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        version = promoted_policy(connection)
        if version is None:
            return
        promoted_at = policy(connection, version)["promoted_at"]
        of_version = col(JobRow.policy_version) == version
        since = _log_ratios(connection, of_version & (col(JobRow.created_at) >= promoted_at))
        if len(since) >= WATCHED or len(since) < BATCH * MIN_BATCHES:
            return
        before = _log_ratios(connection, col(JobRow.created_at) < promoted_at)
        reason = worse(before, since)
        if reason is not None:
            _, now_serving = rollback(connection, now, f"rolled back: {reason}")
            logger.error(
                "policy %s is rolled back, %s serves: %s", version, now_serving or "the policy of the settings", reason
            )


def worse(before: Sequence[float], since: Sequence[float]) -> str | None:
    """Say by how much `since` is significantly worse than `before`; None if it is not.

    Args:
        before: ln(service delay / predicted delay) of jobs before the promotion, in order of acceptance.
        since: the same since then.
    """
    means = [_batch_means(values) for values in (before, since)]
    if min(len(m) for m in means) < MIN_BATCHES:
        return None
    difference = float(means[1].mean() - means[0].mean())
    error = math.sqrt(sum(m.var(ddof=1) / len(m) for m in means))
    if difference <= math.log(MAX_RATIO) or difference <= MAX_T * error:
        return None
    ratio = math.exp(difference)
    return f"service delay / predicted delay is {ratio:.2f} times that before (t = {difference / error:.1f})"


def _batch_means(values: Sequence[float]) -> FloatArray:
    batches = len(values) // BATCH
    means: FloatArray = np.array(values[: batches * BATCH]).reshape(batches, BATCH).mean(axis=1)
    return means


def _log_ratios(connection: Connection, which: ColumnElement[bool]) -> list[float]:
    """Return ln(service delay / predicted delay) of the newest DONE jobs, in order of acceptance."""
    parts = [getattr(JobRow, name) for name in Delays.model_fields]
    chosen = select(col(JobRow.foretold_s), *parts).where(
        which, col(JobRow.state) == JobState.DONE, col(JobRow.foretold_s) > 0.0
    )
    rows = connection.execute(chosen.order_by(col(JobRow.created_at).desc()).limit(WATCHED)).all()
    return [math.log(max(sum(row[1:]), 1e-6) / row[0]) for row in reversed(rows)]
