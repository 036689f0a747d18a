"""The rows of the experience log that one placement of a batch makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from planner.state.attempts import LiveAttempt
from planner.turns.choice import Choice
from rl_agent.experience.decision import Decision, decisions, encode
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import Placement

Beside = Callable[[Decision], Mapping[str, Any]]


def experience_rows(
    observation: Observation,
    placement: Placement,
    placed: Sequence[tuple[Choice, LiveAttempt]],
    beside: Beside | None = None,
) -> list[dict[str, Any]]:
    """Return the row of every job that was placed.

    Args:
        observation: what the placer saw.
        placement: what it answered.
        placed: the choices and their attempts, in the order of their rows.
        beside: what else is noted of each decision, such as the answer of a policy in the shadow.
    """
    by_row = {choice.row: (choice, attempt) for choice, attempt in placed}
    return [
        {**_row(*by_row[row], decision, placement), **(beside(decision) if beside else {})}
        for row, decision in decisions(observation, placement)
        if row in by_row
    ]


def _row(choice: Choice, attempt: LiveAttempt, decision: Decision, placement: Placement) -> Mapping[str, Any]:
    view = choice.view
    return {
        "job": attempt.job,
        "attempt": attempt.number,
        "ingress": view.ingress,
        "model": view.model,
        "units": view.units,
        "images": view.n,
        "input_mbit": view.input_mbit,
        "output_mbit": view.output_mbit,
        "arrived_at": choice.job.created_at,
        "decided_at": attempt.placed_at,
        "node": choice.node.name,
        "placer": attempt.placer,
        "policy_version": attempt.policy_version,
        "decision": encode(decision),
        "propensity": placement.propensity_of(choice.row),
        "foretold_s": choice.job.foretold_s,
        "eta_p50_s": choice.eta.p50_s,
        "eta_p90_s": choice.eta.p90_s,
        "resident_limit": choice.node.report.resident_limit,
    }
