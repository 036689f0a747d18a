"""One round of retraining: read the log, fit the twin, learn, pass the gate or not.

A round may be killed at any time. It leaves traces in two places only: the checkpoint, from which the next round
resumes, and one transaction at the end, which stores the candidate and promotes or rejects it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from rl_agent.policy.file import LoadedPolicy, PolicyCard, PolicyFiles, dump_policy, load_policy, parse_policy
from rl_agent.policy.learned_placer import LearnedPlacer, shipped_policy
from rl_agent.policy.registry import (
    add_policy,
    policy_files,
    promote,
    promoted_policy,
    prune_rejected,
    reject,
)
from rl_agent.policy.rule_policy import placer_of
from rl_agent.retraining.checkpoint import RoundState, read_checkpoint, write_checkpoint
from rl_agent.retraining.gate import Gate, PlannerSettings, RuleWin, Trial
from rl_agent.retraining.off_policy import estimate
from rl_agent.retraining.plan import ProgressCallback, RetrainingPlan
from rl_agent.retraining.practice import Practice, plain_rules
from rl_agent.retraining.samples import Sample, Samples, check_rows
from rl_agent.retraining.split import HELD_OUT_SHARE, split_arrivals
from rl_agent.retraining.twin import Twin, describe, fit_twin

logger = logging.getLogger(__name__)

MIN_SAMPLES = 60
"""18 of 60 are held out, about one block of the gate's bootstrap; fewer can decide nothing."""
REJECTED_KEPT = 50
"""A round every ten minutes rejects at most six candidates an hour: those of the last eight hours."""
RESUMED_WITHIN_S = 3_600.0
"""A round that was killed longer ago is not resumed: the next one starts afresh, with what was logged since."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """The result of one round.

    Attributes:
        version: of the candidate; None if there was none.
        is_promoted: whether the candidate serves now.
        reason: why, in one sentence.
    """

    version: str | None
    is_promoted: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class RoundInputs:
    """What one round works with.

    Attributes:
        version: of the promoted policy; None if none is.
        served: the policy that serves; None if it cannot be read, in which case earliest completion places.
        start: the policy that learning starts from: the one that serves, else the shipped one.
        samples: logged experience, checked.
        saved: state of an earlier round; None if there is none.
    """

    version: str | None
    served: LoadedPolicy | None
    start: LoadedPolicy
    samples: Samples
    saved: RoundState | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate made of one policy.

    Attributes:
        trial: what it measured, for the registry.
        placer: makes the placer that was judged; None for a rule.
    """

    version: str
    files: PolicyFiles
    reason: str
    trial: Mapping[str, Any]
    is_passed: bool
    placer: Callable[[], Placer] | None = None

    def beaten_by(self, win: RuleWin) -> Judged:
        """Return the verdict on a policy that is not promoted because a rule is."""
        return replace(self, is_passed=False, reason=f"{self.reason}; {win.rule} is better")


class Retrainer:
    """Retrains the policy of one installation.

    Args:
        settings: where the ledger is, and how the planner orders jobs.
        plan: bounds.
        progress: called with what is being done and the share that is done.
    """

    def __init__(
        self, settings: Settings, plan: RetrainingPlan | None = None, progress: ProgressCallback | None = None
    ) -> None:
        self.settings = settings
        self.plan = plan or RetrainingPlan()
        self._progress = progress or (lambda _what, _share: None)
        self._planner = PlannerSettings(window=settings.window, ageing=settings.ageing, lookahead=settings.lookahead)
        self._engine = open_database(settings.database)
        self._folder = settings.data_dir / "retraining"

    @property
    def checkpoint(self) -> Path:
        """Return the file from which a killed round resumes."""
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
        finally:
            self._engine.dispose()

    def _run(self) -> Round:
        inputs = self._read()
        samples = inputs.samples
        if len(samples.kept) < MIN_SAMPLES:
            return _nothing(f"{len(samples.kept)} usable experiences, {MIN_SAMPLES} are needed")
        if self._finished() == samples.last_id:
            return _nothing("no new experience since the last round")
        outcome = self._retrain(inputs)
        self._note_finished(samples.last_id)
        return outcome

    def _read(self) -> RoundInputs:
        """Read the serving policy, the log and the checkpoint."""
        self._progress("reading experience", 0.0)
        saved = read_checkpoint(self.checkpoint)
        with for_reading(self._engine).begin() as connection:
            version = promoted_policy(connection)
            served = self._served(version, None if version is None else policy_files(connection, version))
            start = served or load_policy(shipped_policy())
            until = None if saved is None else self._unfinished(saved, start)
            samples = check_rows(read_experience(connection, until=until, newest=self.plan.newest))
        for reason, count in samples.refused.items():
            logger.warning("%d rows of the experience log do not count: %s", count, reason)
        return RoundInputs(version=version, served=served, start=start, samples=samples, saved=saved)

    def _retrain(self, inputs: RoundInputs) -> Round:
        """Learn in the twin, and judge the result at the gate."""
        twin = fit_twin(inputs.samples.kept)
        logger.info("twin: %s", describe(twin))
        split = split_arrivals(twin, self.plan)
        save = partial(write_checkpoint, self.checkpoint)
        practice = Practice(twin, split, inputs.start, self._planner, self.plan, save, self._progress)
        best = practice.run(inputs.samples, inputs.saved)
        if best is None and inputs.served is None:
            best = inputs.start
        self._progress("at the gate", 1.0)
        serving = EarliestCompletionPlacer if inputs.served is None else partial(placer_of, inputs.served)
        gate = Gate(serving, split.held_out, twin.estimates, self._planner)
        learnt = None if best is None else self._learnt(inputs, twin, gate, best, practice.state.rounds)
        passed = learnt.placer if learnt is not None and learnt.is_passed else None
        win = gate.winning_rule(passed)
        if win is None:
            verdicts = [] if learnt is None else [learnt]
        else:
            verdicts = [] if learnt is None else [learnt.beaten_by(win)]
            verdicts.append(self._rule(inputs, twin, win))
        if not verdicts:
            return _nothing("nothing found in the twin, and no rule, was better than the serving policy")
        return self._conclude(verdicts, inputs.version)

    # The candidate

    def _learnt(
        self, inputs: RoundInputs, twin: Twin, gate: Gate, best: LoadedPolicy, rounds: Sequence[Mapping[str, Any]]
    ) -> Judged:
        """Judge what was learnt, and the plain rules that a policy can correct."""
        choices = (best, *plain_rules(inputs.start))
        passed, trial = gate.first_to_pass([partial(LearnedPlacer, policy=choice) for choice in choices])
        candidate = choices[passed]
        version = _version("retrained", inputs)
        _, files = dump_policy(
            candidate.weights,
            version=version,
            n_denoising_steps=candidate.card.n_denoising_steps,
            training=self._training(inputs.samples, twin, candidate.card, rounds),
            rule=candidate.card.rule,
        )
        return Judged(
            version=version,
            files=files,
            reason=trial.reason,
            trial=self._measured(inputs, trial, candidate),
            is_passed=trial.is_passed,
            placer=partial(LearnedPlacer, policy=candidate),
        )

    def _rule(self, inputs: RoundInputs, twin: Twin, win: RuleWin) -> Judged:
        """Return the rule that wins as a policy: learning goes on from the network beside it."""
        version, start = _version(win.rule, inputs), inputs.start
        _, files = dump_policy(
            start.weights,
            version=version,
            n_denoising_steps=start.card.n_denoising_steps,
            training=self._training(inputs.samples, twin, start.card, []),
            rule=start.card.rule,
            plays=win.rule,
        )
        return Judged(version=version, files=files, reason=win.reason, trial=win.to_json(), is_passed=True)

    def _training(
        self, samples: Samples, twin: Twin, card: PolicyCard, rounds: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return what a candidate's card says of how it was made."""
        return {
            "command": "ladle retrain",
            "from": card.version,
            **vars(self.plan),
            "rounds": list(rounds),
            "twin": describe(twin),
            "experience": {"kept": len(samples.kept), "refused": dict(samples.refused), "last_id": samples.last_id},
        }

    def _measured(self, inputs: RoundInputs, trial: Trial, candidate: LoadedPolicy) -> dict[str, Any]:
        """Return what the gate measured, and beside it the off-policy estimates on the newest experience."""
        kept = inputs.samples.kept
        newest = kept[-max(int(len(kept) * HELD_OUT_SHARE), 1) :]
        estimates = {
            "candidate": _estimate(candidate, newest, self.settings.exploration),
            "serving": _estimate(inputs.start, newest, self.settings.exploration),
        }
        return {**trial.to_json(), "off_policy": estimates}

    def _conclude(self, verdicts: Sequence[Judged], serving_version: str | None) -> Round:
        """Store what was judged and promote or reject it, in one transaction; the last verdict is the round's."""
        now = time.time()
        with self._engine.begin() as connection:
            is_overtaken = promoted_policy(connection) != serving_version
            for verdict in verdicts:
                reason, is_promoted = verdict.reason, verdict.is_passed and not is_overtaken
                reason = f"another policy was promoted meanwhile; {reason}" if is_overtaken else reason
                add_policy(connection, verdict.files, now, reason=reason, trial=verdict.trial)
                if is_promoted:
                    promote(connection, verdict.version, now, reason)
                else:
                    reject(connection, verdict.version, reason)
                logger.info("policy %s: %s", verdict.version, reason)
            prune_rejected(connection, REJECTED_KEPT)
        return Round(version=verdict.version, is_promoted=is_promoted, reason=reason)

    # The serving policy, and what is done

    def _served(self, version: str | None, files: PolicyFiles | None) -> LoadedPolicy | None:
        """Return the policy that serves; None if it cannot be read, in which case earliest completion places."""
        try:
            if files is not None:
                return parse_policy(version or "", files)
            return load_policy(Path(self.settings.policy) if self.settings.policy else shipped_policy())
        except PolicyFileError as exc:
            logger.error("retraining starts from the shipped policy: %s", exc)
            return None

    def _unfinished(self, saved: RoundState, serving: LoadedPolicy) -> int | None:
        """Return the last row that a killed round has read, so that it resumes although the log has grown since."""
        if saved.base != serving.card.sha256 or saved.last_id == self._finished():
            return None
        is_recent = time.time() - self.checkpoint.stat().st_mtime < RESUMED_WITHIN_S
        return saved.last_id if is_recent else None

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


def _version(name: str, inputs: RoundInputs) -> str:
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{inputs.samples.last_id}"


def _nothing(reason: str) -> Round:
    logger.info("nothing to promote: %s", reason)
    return Round(version=None, is_promoted=False, reason=reason)
