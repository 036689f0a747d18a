"""One round of retraining: read the log, fit the twin, learn, pass the gate or not.

Everything that counts happens in two places: the checkpoint, which a killed round goes on from, and one transaction at
the end, which keeps the candidate and promotes or rejects it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch as th
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

from broker_config.settings import Settings
from rl_agent.database import for_reading, open_database
from rl_agent.errors import PolicyFileError, RetrainingError
from rl_agent.experience.log import read_experience
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import EarliestCompletionPlacer
from rl_agent.policy.file import LoadedPolicy, PolicyFiles, dump_policy, load_policy, parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer, shipped_policy
from rl_agent.policy.registry import (
    add_policy,
    policy_files,
    promote,
    promoted_policy,
    prune_rejected,
    reject,
)
from rl_agent.retraining.checkpoint import read_checkpoint
from rl_agent.retraining.gate import PlannerSettings, Trial, first_to_pass
from rl_agent.retraining.off_policy import estimate
from rl_agent.retraining.practice import HELD_OUT_SHARE, Practice, ProgressCallback, RetrainingPlan
from rl_agent.retraining.samples import Sample, Samples, check_rows
from rl_agent.retraining.twin import describe, fit_twin

logger = logging.getLogger(__name__)

MIN_SAMPLES = 60
REJECTED_KEPT = 50
RESUMED_WITHIN_S = 3_600.0
"""A round that was killed longer ago begins anew, from what has happened since."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What came of one round.

    Attributes:
        version: of the candidate; None if there was none.
        is_promoted: the candidate serves now.
        reason: why, in one sentence.
    """

    version: str | None
    is_promoted: bool
    reason: str


class Retrainer:
    """Retrains the policy of one installation.

    Args:
        settings: where the ledger is, and how the planner orders jobs.
        plan: bounds.
        progress: told what is done and how far it is, 0 to 1.
    """

    def __init__(
        self, settings: Settings, plan: RetrainingPlan | None = None, progress: ProgressCallback | None = None
    ) -> None:
        self.settings = settings
        self.plan = plan or RetrainingPlan()
        self._progress = progress or (lambda _what, _share: None)
        self._rules = PlannerSettings(window=settings.window, ageing=settings.ageing, lookahead=settings.lookahead)
        self._engine = open_database(settings.database)
        self._folder = settings.data_dir / "retraining"

    @property
    def checkpoint(self) -> Path:
        """Return the file that a killed round goes on from."""
        return self._folder / "checkpoint.safetensors"

    def run(self) -> Round:
        """Do one round.

        Raises:
            RetrainingError: the database does not answer, or has no ledger yet.
        """
        th.set_num_threads(1)
        try:
            return self._run()
        except (OperationalError, InterfaceError, ProgrammingError) as exc:
            reason = str(exc.orig).strip().split("\n", 1)[0]
            raise RetrainingError(f"the ledger does not answer ({reason}): is there a planner that made it?") from exc

    def _run(self) -> Round:
        self._progress("reading experience", 0.0)
        with for_reading(self._engine).begin() as connection:
            serving_version = promoted_policy(connection)
            files = None if serving_version is None else policy_files(connection, serving_version)
            served = self._served(serving_version, files)
            serving = served or load_policy(shipped_policy())
            until = self._unfinished(serving)
            samples = check_rows(read_experience(connection, until=until, newest=self.plan.newest))
        for reason, count in samples.refused.items():
            logger.warning("%d rows of the experience log do not count: %s", count, reason)
        if len(samples.kept) < MIN_SAMPLES:
            return _nothing(f"{len(samples.kept)} usable experiences, {MIN_SAMPLES} are needed")
        if self._finished() == samples.last_id:
            return _nothing("no new experience since the last round")
        twin = fit_twin(samples.kept)
        logger.info("twin: %s", describe(twin))
        practice = Practice(twin, serving, self._rules, self.plan, self.checkpoint, self._progress)
        best = practice.run(samples)
        if best is None and served is None:
            best = serving
        if best is None:
            outcome = _nothing("nothing learnt was better than what serves, in the twin")
        else:
            rival = EarliestCompletionPlacer if served is None else partial(LearnedPlacer, policy=served)
            outcome = self._gate(samples, practice, serving_version, best, rival)
        self._note_finished(samples.last_id)
        return outcome

    # The gate

    def _gate(
        self,
        samples: Samples,
        practice: Practice,
        serving_version: str | None,
        best: LoadedPolicy,
        rival: Callable[[], Placer],
    ) -> Round:
        self._progress("at the gate", 1.0)
        choices = (best, *practice.plain_rules)
        passed, trial = first_to_pass(
            [partial(LearnedPlacer, policy=choice) for choice in choices],
            rival,
            practice.held_out(),
            practice.twin.estimates,
            self._rules,
        )
        chosen = choices[passed]
        card = chosen.card
        version = f"retrained-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{samples.last_id}"
        training = {
            "command": "ladle retrain",
            "from": card.version,
            **vars(self.plan),
            "rounds": practice.rounds,
            "twin": describe(practice.twin),
            "experience": {"kept": len(samples.kept), "refused": dict(samples.refused), "last_id": samples.last_id},
        }
        _, files = dump_policy(
            chosen.weights, version=version, n_denoising_steps=card.n_denoising_steps, training=training, rule=card.rule
        )
        newest = samples.kept[-max(int(len(samples.kept) * HELD_OUT_SHARE), 1) :]
        measured = {
            **trial.to_json(),
            "off_policy": {
                "candidate": _estimate(chosen, newest, self.settings.exploration),
                "serving": _estimate(practice.serving, newest, self.settings.exploration),
            },
        }
        return self._conclude(trial, version, files, measured, serving_version)

    def _conclude(
        self, trial: Trial, version: str, files: PolicyFiles, measured: dict[str, Any], serving_version: str | None
    ) -> Round:
        """Keep the candidate and promote or reject it, in one transaction."""
        now, reason, is_promoted = time.time(), trial.reason, trial.is_passed
        with self._engine.begin() as connection:
            if promoted_policy(connection) != serving_version:
                reason, is_promoted = "another policy was promoted meanwhile; " + reason, False
            add_policy(connection, files, now, reason=reason, trial=measured)
            if is_promoted:
                promote(connection, version, now, reason)
            else:
                reject(connection, version, reason)
                prune_rejected(connection, REJECTED_KEPT)
        logger.info("policy %s: %s", version, reason)
        return Round(version=version, is_promoted=is_promoted, reason=reason)

    # What serves, and what is done

    def _served(self, version: str | None, files: PolicyFiles | None) -> LoadedPolicy | None:
        """Return what serves; None when that cannot be read, so that earliest completion places."""
        try:
            if files is not None:
                return parse_policy(version or "", files)
            return load_policy(Path(self.settings.policy) if self.settings.policy else shipped_policy())
        except PolicyFileError as exc:
            logger.error("retraining starts from the shipped policy: %s", exc)
            return None

    def _unfinished(self, serving: LoadedPolicy) -> int | None:
        """Return the last row that a killed round has read, so that it goes on although the log has grown since."""
        _, note = read_checkpoint(self.checkpoint) or ({}, {})
        is_of_serving = note.get("base") == serving.card.sha256
        if not is_of_serving or note.get("last_id") == self._finished():
            return None
        is_recent = time.time() - self.checkpoint.stat().st_mtime < RESUMED_WITHIN_S
        return int(note["last_id"]) if is_recent else None

    def _finished(self) -> int | None:
        try:
            return int(json.loads((self._folder / "finished.json").read_text())["last_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _note_finished(self, last_id: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / ".finished.json"
        new.write_text(json.dumps({"last_id": last_id}))
        os.replace(new, self._folder / "finished.json")


def _estimate(policy: LoadedPolicy, samples: tuple[Sample, ...], exploration: float) -> dict[str, float | None]:
    found = estimate(LearnedPlacer(policy=policy), samples, exploration)
    return {name: None if value is None else round(value, 4) for name, value in vars(found).items()}


def _nothing(reason: str) -> Round:
    logger.info("nothing to promote: %s", reason)
    return Round(version=None, is_promoted=False, reason=reason)
