"""What a placer sees: one function builds it, for the live planner and for the simulator alike.

All durations are seconds. J jobs are listed in the planner's order, N nodes in a fixed order by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rl_agent.estimates import Estimates, FloatArray

OBSERVATION_VERSION = 1
DEFAULT_LINK_MBIT_S = 1000.0


@dataclass(frozen=True, kw_only=True)
class JobView:
    """What is known of one WAITING job.

    Attributes:
        units: its work in megapixel steps (`estimates.work_units`).
        latent_action: probabilities by node name from its last time before the placer; None at the first time.
    """

    job: str
    model: str
    units: float
    ingress: str | None = None
    input_mbit: float = 0.0
    output_mbit: float = 0.0
    waited_s: float = 0.0
    latent_action: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """What is known of one node.

    Attributes:
        backlog_s: predicted seconds until all its unfinished attempts are done.
        room: how many more attempts its window takes now.
        resident: models that will be in memory once its backlog is done, least recently used first.
        models: models it can serve; None means any.
        link_mbit_s: rate from each ingress; an ingress that is not listed has `DEFAULT_LINK_MBIT_S`.
    """

    node: str
    backlog_s: float
    room: int
    resident: tuple[str, ...] = ()
    models: frozenset[str] | None = None
    accepts_jobs: bool = True
    link_mbit_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Arrays over J jobs and N nodes; a placer reads nothing else.

    Attributes:
        jobs: J job ids. nodes: N node names.
        transfer_in_s: (J, N) moving the input from the job's ingress; 0 at the ingress itself.
        load_s: (J, N) loading the model; 0 where it will be resident.
        generation_s: (J, N) predicted median.
        generation_log_std: (J, N) spread of its logarithm: how unsure the estimate is.
        transfer_out_s: (J, N) moving the result back.
        backlog_s: (N,) predicted seconds of work a node still has.
        room: (N,) free places in the node's window.
        eligible: (J, N) the node is up, not draining, and can serve the job's model.
        is_ingress: (J, N) the job's input is already there.
        waited_s: (J,) since the job was accepted.
        latent_action: (J, N) last action probabilities of each job, rows of NaN at the first time.
    """

    jobs: tuple[str, ...]
    nodes: tuple[str, ...]
    transfer_in_s: FloatArray
    load_s: FloatArray
    generation_s: FloatArray
    generation_log_std: FloatArray
    transfer_out_s: FloatArray
    backlog_s: FloatArray
    room: NDArray[np.int64]
    eligible: NDArray[np.bool_]
    is_ingress: NDArray[np.bool_]
    waited_s: FloatArray
    latent_action: FloatArray

    @property
    def service_s(self) -> FloatArray:
        """(J, N) predicted seconds a node is kept busy by a job: load and generation."""
        return self.load_s + self.generation_s

    @property
    def delay_s(self) -> FloatArray:
        """(J, N) predicted seconds from now to the result if the job were placed on an idle place of the node."""
        arrival = np.maximum(self.transfer_in_s, self.backlog_s[None, :])
        return arrival + self.service_s + self.transfer_out_s


def observe(jobs: Sequence[JobView], nodes: Sequence[NodeView], estimates: Estimates) -> Observation:
    """Build the observation of `jobs` (in the planner's order) over `nodes`.

    Cost: O(models x N) look-ups and O(J x N) vectorised arithmetic.
    """
    models = sorted({job.model for job in jobs})
    model_of_job = np.array([models.index(job.model) for job in jobs], dtype=np.int64)
    units = np.array([job.units for job in jobs], dtype=np.float64)[:, None]
    shape = (len(models), len(nodes))
    s_per_unit, overhead, log_std, load_s = (np.empty(shape) for _ in range(4))
    serves = np.empty(shape, dtype=bool)
    for m, model in enumerate(models):
        for k, node in enumerate(nodes):
            estimate = estimates.of(node.node, model)
            s_per_unit[m, k] = estimate.s_per_unit.median
            overhead[m, k] = estimate.overhead_units
            log_std[m, k] = estimate.s_per_unit.std_log
            load_s[m, k] = 0.0 if model in node.resident else estimate.load_s.median
            serves[m, k] = node.accepts_jobs and (node.models is None or model in node.models)
    rate = _link_rates(jobs, nodes)
    is_ingress = np.array([[job.ingress == node.node for node in nodes] for job in jobs], dtype=bool)
    is_ingress = is_ingress.reshape(len(jobs), len(nodes))
    input_mbit = np.array([job.input_mbit for job in jobs])[:, None]
    output_mbit = np.array([job.output_mbit for job in jobs])[:, None]
    return Observation(
        jobs=tuple(job.job for job in jobs),
        nodes=tuple(node.node for node in nodes),
        transfer_in_s=np.where(is_ingress, 0.0, input_mbit / rate),
        load_s=load_s[model_of_job],
        generation_s=s_per_unit[model_of_job] * (units + overhead[model_of_job]),
        generation_log_std=log_std[model_of_job],
        transfer_out_s=np.where(is_ingress, 0.0, output_mbit / rate),
        backlog_s=np.array([node.backlog_s for node in nodes], dtype=np.float64),
        room=np.array([node.room for node in nodes], dtype=np.int64),
        eligible=serves[model_of_job],
        is_ingress=is_ingress,
        waited_s=np.array([job.waited_s for job in jobs], dtype=np.float64),
        latent_action=_latent_actions(jobs, nodes),
    )


def _link_rates(jobs: Sequence[JobView], nodes: Sequence[NodeView]) -> FloatArray:
    """(J, N) Mbit/s between each job's ingress and each node."""
    ingresses = sorted({job.ingress or "" for job in jobs})
    by_ingress = np.array(
        [[node.link_mbit_s.get(ingress, DEFAULT_LINK_MBIT_S) for node in nodes] for ingress in ingresses],
        dtype=np.float64,
    ).reshape(len(ingresses), len(nodes))
    return by_ingress[[ingresses.index(job.ingress or "") for job in jobs]]


def _latent_actions(jobs: Sequence[JobView], nodes: Sequence[NodeView]) -> FloatArray:
    """(J, N) last probabilities; a node unknown to a job's last decision gets 0, a new job NaN."""
    latent = np.full((len(jobs), len(nodes)), np.nan)
    for row, job in enumerate(jobs):
        if job.latent_action is not None:
            latent[row] = [job.latent_action.get(node.node, 0.0) for node in nodes]
    return latent
