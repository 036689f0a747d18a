"""What the placer chose for one job of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from planner.calibration import Eta
from planner.state.cluster import LiveNode
from planner.state.jobs import LiveJob
from rl_agent.placing.observation import JobView


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One job that was given a node, and what was predicted of it.

    Attributes:
        row: of the job in the batch's observation.
        view: what the placer saw of the job.
        predicted_s: model load and generation on `node`.
        foretold_s: from now to the result; `eta` is what is promised of that.
        placer: name of the rule or learner that chose; `policy_version` of the latter.
    """

    row: int
    job: LiveJob
    view: JobView
    node: LiveNode
    eta: Eta
    predicted_s: float
    foretold_s: float
    placer: str
    policy_version: str | None
