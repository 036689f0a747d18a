"""One round of retraining: read the log, fit the twin, learn, pass the gate or not, all within its time.

A round may be killed at any time. It leaves traces in the checkpoint, from which the next round resumes, in its row of
`rounds`, and in one transaction at the end, which stores the candidate and promotes or rejects it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch as th
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

from broker_config.settings import Settings
from rl_agent.database import for_reading, open_database
from rl_agent.errors import RetrainingError
from rl_agent.placing.placer import Placer
from rl_agent.placing.rules import EarliestCompletionPlacer
from rl_agent.policy.registry import add_policy, promote, promoted_policy, prune_rejected, reject
from rl_agent.policy.rule_policy import placer_of
from rl_agent.retraining.budget import JUDGED_BY, RoundBudget
from rl_agent.retraining.candidates import Candidates, Judged
from rl_agent.retraining.checkpoint import write_checkpoint
from rl_agent.retraining.gate import ALL_RULES, MIN_BATCH_JOBS, MIN_BATCHES, Gate, PlannerSettings
from rl_agent.retraining.inputs import RoundInputs, read_inputs
from rl_agent.retraining.plan import ProgressCallback, RetrainingPlan
from rl_agent.retraining.practice import Practice
from rl_agent.retraining.rounds import RoundResult, begin_round, note_round
from rl_agent.retraining.split import held_out_scenarios, split_arrivals
from rl_agent.retraining.twin import Twin, describe, fit_twin

logger = logging.getLogger(__name__)

REJECTED_KEPT = 50
"""A round every ten minutes rejects at most six candidates an hour: those of the last eight hours."""
MIN_REPEATS = 2
"""Of the held-out arrivals, without and with throttling; a gate that has played fewer has judged nothing."""
GATE_MARGIN = 1.5
"""How much longer a held-out job may take to be played than those of the validations did."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """The result of one round.

    Attributes:
        version: of the candidate; None if there was none.
        is_promoted: whether the candidate serves now.
        reason: why, in one sentence.
        wall_s: seconds that it took. processor_s: of the processor.
    """

    version: str | None
    is_promoted: bool
    reason: str
    wall_s: float = 0.0
    processor_s: float = 0.0


class Retrainer:
    """Retrains the policy of one installation.

    Args:
        settings: where the ledger is, how the planner orders jobs, and what retraining may cost.
        plan: bounds.
        progress: called with what is being done and the share that is done.
    """

    def __init__(
        self, settings: Settings, plan: RetrainingPlan | None = None, progress: ProgressCallback | None = None
    ) -> None:
        self.settings = settings
        self.plan = plan or RetrainingPlan()
        self._progress = progress or (lambda _what, _share: None)
        self._planner = PlannerSettings(
            window=settings.window,
            ageing=settings.ageing,
            lookahead=settings.lookahead,
            joint_ageing=settings.joint_ageing,
            handover_s=settings.handover_s,
        )
        self._engine = open_database(settings.database)

    @property
    def checkpoint(self) -> Path:
        """Return the file from which a killed round resumes."""
        return self.settings.data_dir / "retraining" / "checkpoint.safetensors"

    def run(self) -> Round:
        """Do one round, if there is enough to learn from and time for it.

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
        budget = RoundBudget(self.plan.seconds, progress=self._progress)
        budget.tell("reading experience", 0.0)
        with for_reading(self._engine).begin() as connection:
            inputs = read_inputs(connection, self.settings, self.plan, self.checkpoint)
        if isinstance(inputs, str):
            return _nothing(inputs)
        with self._engine.begin() as connection:
            last_id, outcomes = inputs.samples.last_id, inputs.outcomes
            number = begin_round(connection, time.time(), last_id=last_id, outcomes=outcomes)
        budget.bound(inputs.processor_s, partial(self._note, number))
        try:
            result, outcome = self._retrain(inputs, budget)
        except BaseException:
            self._note(number, *budget.used_s())
            raise
        wall_s, processor_s = budget.used_s()
        self._note(number, wall_s, processor_s, result=result, reason=outcome.reason)
        logger.info("a round of %.0f s, %.0f s of the processor: %s", wall_s, processor_s, outcome.reason)
        return replace(outcome, wall_s=wall_s, processor_s=processor_s)

    def _note(self, number: int, wall_s: float, processor_s: float, **values: str) -> None:
        with self._engine.begin() as connection:
            note_round(connection, number, time.time(), wall_s=wall_s, processor_s=processor_s, **values)

    def _retrain(self, inputs: RoundInputs, budget: RoundBudget) -> tuple[RoundResult, Round]:
        """Learn in the twin, and judge the result at the gate."""
        twin = fit_twin(inputs.samples.kept)
        logger.info("twin: %s", describe(twin))
        split = split_arrivals(twin, self.plan)
        save = partial(write_checkpoint, self.checkpoint)
        practice = Practice(twin, split, inputs.start, self._planner, self.plan, save, budget)
        best = practice.run(inputs.samples, inputs.saved)
        candidates = Candidates(inputs, twin, self.plan, self.settings, best)
        gate = self._gate(inputs, twin, candidates, budget, split.held_out_jobs, practice.s_per_job)
        if gate.scenarios < min(MIN_REPEATS, self.plan.repeats):
            return RoundResult.CUT_SHORT, _nothing(f"cut short at the gate, {budget.verdict()}: nothing was judged")
        verdicts = candidates.verdicts(gate, practice.state.rounds)
        if not verdicts:
            found = "nothing found in the twin, and no rule, was better than the serving policy"
            return RoundResult.ENDED, _nothing(found)
        return RoundResult.ENDED, self._conclude(verdicts, inputs.version)

    def _gate(
        self, inputs: RoundInputs, twin: Twin, candidates: Candidates, budget: RoundBudget, jobs: int, s_per_job: float
    ) -> Gate:
        """Play the newest arrivals, at most `jobs`, as many as there seems to be time for."""
        placers = candidates.placers
        phase = budget.phase("at the gate", JUDGED_BY)
        played = (1 + len(ALL_RULES) + len(placers)) * MIN_REPEATS
        affordable = int(budget.left_s(JUDGED_BY) / max(GATE_MARGIN * s_per_job * played, 1e-9))
        newest = min(jobs, max(affordable, MIN_BATCHES * MIN_BATCH_JOBS))
        serving: Callable[[], Placer] = EarliestCompletionPlacer
        if inputs.served is not None:
            serving = partial(placer_of, inputs.served, ageing=self._planner.joint_ageing)
        held_out = held_out_scenarios(twin, self.plan, newest)
        return Gate(serving, placers, held_out, twin.estimates, self._planner, phase)

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


def _nothing(reason: str) -> Round:
    logger.info("nothing to promote: %s", reason)
    return Round(version=None, is_promoted=False, reason=reason)
