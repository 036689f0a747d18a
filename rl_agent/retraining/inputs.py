"""What one round of retraining works with, read in one transaction: the serving policy, the log, the checkpoint."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from broker_config.settings import Settings
from rl_agent.errors import PolicyFileError
from rl_agent.experience.log import count_experience, read_experience
from rl_agent.policy.file import LoadedPolicy, load_policy, parse_policy
from rl_agent.policy.learned_placer import shipped_policy
from rl_agent.policy.registry import policy_files, promoted_policy
from rl_agent.retraining.checkpoint import RoundState, read_checkpoint
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.rounds import HOUR_S, last_read, new_outcomes, processor_s_since
from rl_agent.retraining.samples import Samples, check_rows

logger = logging.getLogger(__name__)

MIN_SAMPLES = 60
"""18 of 60 are held out, about one block of the gate's bootstrap; fewer can decide nothing."""
RESUMED_WITHIN_S = 3_600.0
"""A round that was killed longer ago is not resumed: the next one starts afresh, with what was logged since."""
MIN_ROUND = 0.25
"""Of a round's time that must be allowed for it to begin: in less, hardly anything would be learnt."""


@dataclass(frozen=True, kw_only=True)
class RoundInputs:
    """What one round works with.

    Attributes:
        version: of the promoted policy; None if none is.
        served: the policy that serves; None if it cannot be read, in which case earliest completion places.
        start: the policy that learning starts from: the one that serves, else the shipped one.
        samples: logged experience, checked.
        saved: state of an earlier round; None if there is none.
        outcomes: how many finished jobs are new.
        processor_s: seconds of the processor that the round may use.
    """

    version: str | None
    served: LoadedPolicy | None
    start: LoadedPolicy
    samples: Samples
    saved: RoundState | None
    outcomes: int
    processor_s: float


def read_inputs(
    connection: Connection, settings: Settings, plan: RetrainingPlan, checkpoint: Path
) -> RoundInputs | str:
    """Return what a round works with, or why it does not begin."""
    saved = read_checkpoint(checkpoint)
    version = promoted_policy(connection)
    served = _served(connection, settings, version)
    start = served or load_policy(shipped_policy())
    until = None if saved is None else _unfinished(connection, saved, start, checkpoint)
    outcomes = new_outcomes(connection)
    allowed_s = settings.retrain_share * HOUR_S
    processor_s = allowed_s - processor_s_since(connection, time.time() - HOUR_S)
    problem = _too_few(connection, settings, outcomes) if until is None else None
    if problem is None and processor_s < MIN_ROUND * min(plan.seconds, allowed_s):
        problem = (
            f"the trainer has used {allowed_s - processor_s:.0f} s of the processor in the last hour, of "
            f"{allowed_s:.0f} s that LADLE_RETRAIN_SHARE allows"
        )
    if problem is not None:
        return problem
    samples = check_rows(read_experience(connection, until=until, newest=plan.newest))
    for reason, count in samples.refused.items():
        logger.warning("%d rows of the experience log do not count: %s", count, reason)
    if len(samples.kept) < MIN_SAMPLES:
        return _too_few_usable(len(samples.kept))
    return RoundInputs(
        version=version,
        served=served,
        start=start,
        samples=samples,
        saved=saved,
        outcomes=outcomes,
        processor_s=processor_s,
    )


def _too_few(connection: Connection, settings: Settings, outcomes: int) -> str | None:
    """Return why there is too little experience for a round, by the counts alone."""
    _, rewarded = count_experience(connection)
    if rewarded < MIN_SAMPLES:
        return _too_few_usable(rewarded)
    if outcomes == 0:
        return "no new experience since the last round"
    if outcomes < settings.retrain_min_outcomes:
        needed = f"{settings.retrain_min_outcomes} are needed (LADLE_RETRAIN_MIN_OUTCOMES)"
        return f"{outcomes} new outcomes since the last round, {needed}"
    return None


def _too_few_usable(samples: int) -> str:
    return f"{samples} usable experiences, {MIN_SAMPLES} are needed"


def _served(connection: Connection, settings: Settings, version: str | None) -> LoadedPolicy | None:
    """Return the policy that serves; None if it cannot be read, in which case earliest completion places."""
    try:
        if version is not None:
            return parse_policy(version, policy_files(connection, version))
        return load_policy(Path(settings.policy) if settings.policy else shipped_policy())
    except PolicyFileError as exc:
        logger.error("retraining starts from the shipped policy: %s", exc)
        return None


def _unfinished(connection: Connection, saved: RoundState, serving: LoadedPolicy, checkpoint: Path) -> int | None:
    """Return the last row that a round without a verdict has read, so that it resumes although the log has grown."""
    if saved.base != serving.card.sha256 or saved.last_id == last_read(connection):
        return None
    is_recent = time.time() - checkpoint.stat().st_mtime < RESUMED_WITHIN_S
    return saved.last_id if is_recent else None
