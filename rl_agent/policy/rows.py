"""What the learned policy reads of one job: a matrix with one row per node.

Every column is a logarithm of a duration, a ratio or a share, and so of ordinary size whatever the fleet. Nothing
depends on the number or order of the nodes, or on whether jobs take a tenth of a second or an hour, so that one policy
serves any fleet: durations are in *standard seconds*, of which the generation of a typical job takes
`STANDARD_GENERATION`. The training environment and the live planner both build the rows here; only numpy is needed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import FloatArray
from rl_agent.placing.joint_order import JOINT_AGEING, JointOrder
from rl_agent.placing.observation import Observation
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.prices import LOAD_INVESTED, MAX_PRESSURE, idleness, priced_delay_s

Rows = NDArray[np.float32]

NODE_COLUMNS = (
    "excess_cost",
    "excess_delay",
    "backlog",
    "load",
    "evicted",
    "load_pressure",
    "evicted_pressure",
    "service_pressure",
    "evicted_demand",
    "has_room",
    "is_idle",
    "transfer_in",
    "generation",
    "transfer_out",
    "relative_generation",
    "generation_log_std",
)
JOB_COLUMNS = ("least_delay", "holders", "waited", "pressure", "same_model")
COLUMN = {name: column for column, name in enumerate((*NODE_COLUMNS, *JOB_COLUMNS, "eligible", "score"))}
N_LOG_DURATIONS = NODE_COLUMNS.index("evicted_demand")

PRICED, UNPRICED, PATIENT = "priced-completion", "earliest-completion", "patient-completion"
CORRECTABLE_RULES = (PRICED, UNPRICED, PATIENT)
"""Rules whose score a policy may correct: the rows hold that of the first, `scored_by` gives those of the others."""

STANDARD_GENERATION = 4.0  # standard seconds; about its seconds in EdgePlacement-v1, where it is 3.5 to 5.7 s
SCORE_SHARE = 0.05  # a node that is later by 5 % of the least delay, and by SCORE_FLOOR_S, has a logit lower by 1
SCORE_FLOOR_S = 0.25  # standard seconds
MAX_SCORE = 10.0  # the chain's own bound on logits, `rl_agent.ladts.numpy_chain.MAX_LOGIT`


class PolicyInput:
    """Builds the rows of each job of one batch, as things stand after the jobs before it.

    Durations are standard seconds (see the module) and enter as log(1 + s). A duration times the pressure is what it
    costs the jobs that wait.

    | column | meaning |
    |---|---|
    | excess_cost | predicted delay with prices (`prices`), minus that of the best node |
    | excess_delay | the same without prices |
    | backlog, transfer_in, load, generation, transfer_out | parts of the predicted delay |
    | relative_generation | log of generation over the median of the eligible nodes |
    | generation_log_std | standard deviation of the logarithm of generation |
    | has_room, is_idle | 1 or 0 |
    | evicted | loading again the model that would be evicted |
    | evicted_demand | share of the batch's jobs that need the evicted model |
    | load_pressure, evicted_pressure, service_pressure | those durations times `pressure` |
    | waited | since the job was accepted |
    | pressure | log(1 + WAITING jobs per node); in products, WAITING jobs per node |
    | least_delay | least predicted delay |
    | same_model | share of the batch's jobs that need the job's model |
    | holders | share of the nodes that hold it |
    | eligible | 1 where the job may be placed |
    | score | logits of priced completion, 0 on its node |

    Args:
        observation: the batch.
        ageing: of the joint order.

    Attributes:
        standard_s: how many seconds a standard second has.
        outlook: the nodes after the decisions so far, in standard seconds.
        order: yields the jobs to decide about; it keeps the outlook up to date with `order.give`.
    """

    def __init__(self, observation: Observation, ageing: float = JOINT_AGEING) -> None:
        jobs, nodes = observation.eligible.shape
        self.standard_s = standard_s(observation)
        observation = _in_unit_of(self.standard_s, observation)
        self.outlook = Outlook(observation)
        self.order = JointOrder(self.outlook, ageing, is_patient=True)
        self._observation = observation
        self._present = observation.eligible.any(axis=0)
        self._pressure = min(self.outlook.pressure, MAX_PRESSURE)
        self._demand = np.bincount(observation.model, minlength=len(observation.models)) / max(jobs, 1)
        generation_s = np.maximum(observation.generation_s, 1e-6)
        middle_s = (
            np.median(generation_s[:, self._present], axis=1, keepdims=True) if self._present.any() else generation_s
        )
        self._fixed = np.zeros((jobs, nodes, len(COLUMN)), dtype=np.float32)
        for name, values in {
            "transfer_in": np.log1p(observation.transfer_in_s),
            "generation": np.log1p(generation_s),
            "transfer_out": np.log1p(observation.transfer_out_s),
            "relative_generation": np.log(generation_s / middle_s),
            "generation_log_std": observation.generation_log_std,
            "waited": np.log1p(observation.waited_s)[:, None],
            "pressure": np.log1p(self._pressure),
            "same_model": self._demand[observation.model][:, None],
            "eligible": observation.eligible,
        }.items():
            self._fixed[:, :, COLUMN[name]] = values

    def rows(self, job: int) -> Rows:
        """Return the (N, columns) matrix of row `job`, after the decisions so far.

        Raises:
            ValueError: no node is eligible.
        """
        outlook, observation = self.outlook, self._observation
        load_s = outlook.load_s(job)
        evicted_s, evicted_model = outlook.eviction(job)
        delay_s = outlook.delay_s(job)
        least_s = float(delay_s[observation.eligible[job]].min())
        cost_s = priced_delay_s(outlook, job)
        excess_s = np.maximum(delay_s - least_s, 0.0)
        excess_cost_s = np.maximum(cost_s - cost_s[observation.eligible[job]].min(), 0.0)
        busy_s = np.stack([load_s, evicted_s, load_s + observation.generation_s[job]])
        rows: Rows = self._fixed[job].copy()
        rows[:, :N_LOG_DURATIONS] = np.log1p(
            np.vstack([excess_cost_s, excess_s, outlook.backlog_s, busy_s[:2], self._pressure * busy_s])
        ).T
        rows[:, COLUMN["evicted_demand"]] = np.where(evicted_s > 0.0, self._demand[evicted_model], 0.0)
        rows[:, COLUMN["has_room"]] = outlook.room > 0
        rows[:, COLUMN["is_idle"]] = outlook.backlog_s <= 0.0
        rows[:, COLUMN["least_delay"]] = np.log1p(least_s)
        rows[:, COLUMN["holders"]] = outlook.held[observation.model[job], self._present].mean()
        rows[:, COLUMN["score"]] = score(excess_cost_s, least_s)
        return rows


def score(excess_s: FloatArray, least_s: float | FloatArray) -> FloatArray:
    """Return (N,) logits of a rule: `excess_s` by which each node is worse than the best, which takes `least_s`."""
    return np.maximum(-excess_s / (SCORE_SHARE * least_s + SCORE_FLOOR_S), -MAX_SCORE)


def scored_by(rule: str, rows: Rows) -> Rows:
    """Return rows (..., N, columns) with the score of `rule`, one of `CORRECTABLE_RULES`; from the other columns."""
    if rule == PRICED:
        return rows
    scored = rows.copy()
    excess, least = (np.expm1(rows[..., COLUMN[name]]) for name in ("excess_delay", "least_delay"))
    if rule == PATIENT:
        excess = _congested(rows, excess)
    scored[..., COLUMN["score"]] = score(excess, least)
    return scored


def _congested(rows: Rows, excess_delay: Rows) -> Rows:
    """Return (..., N) by how much each node is worse than the best by `rl_agent.placing.prices.congested_delay_s`."""
    names = ("evicted", "backlog", "transfer_in", "load", "pressure")
    evicted, backlog, transfer_in, load, pressure = (np.expm1(rows[..., COLUMN[name]]) for name in names)
    strays = np.maximum(transfer_in, backlog) - np.float32(LOAD_INVESTED) * load
    cost = excess_delay + evicted + idleness(pressure) * strays
    eligible = rows[..., COLUMN["eligible"]] > 0.0
    least = np.where(eligible, cost, np.inf).min(axis=-1, keepdims=True)
    excess: Rows = np.maximum(cost - np.where(np.isfinite(least), least, 0.0), 0.0)
    return excess


def standard_s(observation: Observation) -> float:
    """Return how many seconds a standard second has."""
    return max(observation.typical_generation_s, 1e-6) / STANDARD_GENERATION


def _in_unit_of(unit_s: float, observation: Observation) -> Observation:
    """Return the observation with all durations in another unit than seconds."""
    durations = (
        "transfer_in_s",
        "load_s",
        "adapters_load_s",
        "generation_s",
        "transfer_out_s",
        "backlog_s",
        "waited_s",
        "cold_load_s",
        "typical_generation_s",
        "handover_s",
    )
    return replace(observation, **{name: getattr(observation, name) / unit_s for name in durations})
