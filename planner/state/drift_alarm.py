"""Raises and ends the drift alarm of a node: in the log, and in its ledger row for `ladle nodes`."""

from __future__ import annotations

import logging

from planner.state.attempts import LiveAttempt
from planner.state.cluster import LiveNode
from rl_agent.placing.drift import Drift
from rl_agent.placing.estimates import ModelEstimate

logger = logging.getLogger(__name__)

MIN_OUTCOMES = 3
"""With fewer outcomes the prediction still rests on other nodes, and missing it says nothing about this one."""


def watch_drift(node: LiveNode, attempt: LiveAttempt, generation_s: float, estimate: ModelEstimate, now: float) -> bool:
    """Compare what an attempt took with what was known before; return whether the node's alarm changed.

    Args:
        node: where it ran.
        attempt: which is done.
        generation_s: measured, without the model load.
        estimate: of the node for the outfit, not yet updated with this attempt.
        now: seconds on the planner's clock.
    """
    if estimate.s_per_unit.count < MIN_OUTCOMES:
        return False
    model = attempt.outfit
    drift = node.drifts.setdefault(model, Drift(is_alarm=model in node.drift_alarms))
    predicted_s = estimate.generation_s(attempt.units, attempt.images)
    rate = estimate.s_per_unit
    if not drift.observe(
        taken_s=generation_s, predicted_s=predicted_s, level_log=rate.mean_log, spread_log=rate.std_log
    ):
        return False
    if drift.is_alarm:
        node.drift_alarms = {**node.drift_alarms, model: {"factor": round(drift.factor, 2), "since": now}}
        logger.warning("drift: node %s took %.2g times the predicted time for %s", node.name, drift.factor, model)
    else:
        node.drift_alarms = {name: alarm for name, alarm in node.drift_alarms.items() if name != model}
        logger.info("drift: node %s is as predicted again for %s", node.name, model)
    return True
