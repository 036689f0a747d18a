"""The rows of the experience log that one placement of a batch makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.state.cluster import LiveAttempt, Node
from planner.state.eta import Eta
from planner.state.jobs import LiveJob
from rl_agent.experience.decision import Decision, decisions, encode
from rl_agent.placing.observation import JobView, Observation
from rl_agent.placing.rules import Placement

Beside = Callable[[Decision], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Given:
    """One job of a batch that was placed: its row in the observation, and what came of it."""

    row: int
    job: LiveJob
    view: JobView
    node: Node
    attempt: LiveAttempt
    eta: Eta


def experience_rows(
    observation: Observation, placement: Placement, given: Sequence[Given], beside: Beside | None = None
) -> list[dict[str, Any]]:
    """Return the row of every job that was placed.

    Args:
        observation: what the placer saw.
        placement: what it answered.
        given: the placed jobs, in the order of their rows.
        beside: what else is noted of each decision, such as the answer of a policy in the shadow.
    """
    by_row = {one.row: one for one in given}
    return [
        {**_row(by_row[row], decision, placement), **(beside(decision) if beside else {})}
        for row, decision in decisions(observation, placement)
        if row in by_row
    ]


def _row(given: Given, decision: Decision, placement: Placement) -> Mapping[str, Any]:
    attempt, view = given.attempt, given.view
    return {
        "job": attempt.job,
        "attempt": attempt.number,
        "ingress": view.ingress,
        "model": view.model,
        "units": view.units,
        "input_mbit": view.input_mbit,
        "output_mbit": view.output_mbit,
        "arrived_at": given.job.created_at,
        "decided_at": attempt.placed_at,
        "node": given.node.name,
        "placer": attempt.placer,
        "policy_version": attempt.policy_version,
        "decision": encode(decision),
        "propensity": placement.propensity_of(given.row),
        "foretold_s": given.job.foretold_s,
        "eta_p50_s": given.eta.p50_s,
        "eta_p90_s": given.eta.p90_s,
        "resident_limit": given.node.report.resident_limit,
    }
