"""What a placer sees: one function builds it, for the live planner and for the simulator alike.

All durations are seconds. J jobs are listed in the planner's order, N nodes in a fixed order by name.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rl_agent.placing.estimates import Estimates, FloatArray
from rl_agent.placing.outfits import outfit_of

OBSERVATION_VERSION = 2  # grows when a field or column changes its meaning; policies and logs of another are refused
DEFAULT_LINK_MBIT_S = 1000.0  # a wired local network: where nobody has said otherwise


@dataclass(frozen=True, kw_only=True)
class JobView:
    """What is known of one WAITING job.

    Attributes:
        adapters: that it is drawn with, by name.
        units: its work in megapixel steps (`estimates.work_units`), all `n` images together.
        latent_action: probabilities by node name from its last decision; None before the first.
        priority: class, 0 goes first.
        client: who shares the nodes' time with others.
        client_had_s: seconds of work that the client was given, on the clock of the fair shares.
        work_s: seconds of work that the job will count for.
    """

    job: str
    model: str
    units: float
    n: int = 1
    adapters: tuple[str, ...] = ()
    ingress: str | None = None
    input_mbit: float = 0.0
    output_mbit: float = 0.0
    waited_s: float = 0.0
    latent_action: Mapping[str, float] | None = None
    priority: int = 0
    client: str = ""
    client_had_s: float = 0.0
    work_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """What is known of one node.

    Attributes:
        backlog_s: predicted seconds until all its unfinished attempts are done.
        room: how many more attempts fit into its window now.
        resident: models that will be in memory once its backlog is done, least recently used first.
        resident_limit: how many models fit into its memory at once.
        adapters: names of those that will be in memory, by model, which is resident then too.
        models: models it can serve; None means any.
        link_mbit_s: rate from each ingress; an ingress that is not listed has `DEFAULT_LINK_MBIT_S`.
    """

    node: str
    backlog_s: float
    room: int
    resident: tuple[str, ...] = ()
    resident_limit: int = 1
    adapters: Mapping[str, Container[str]] = field(default_factory=dict)
    models: frozenset[str] | None = None
    accepts_jobs: bool = True
    link_mbit_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Arrays over J jobs, N nodes and M models: all that a placer may read.

    Attributes:
        jobs: J job ids. nodes: N node names. models: M models, those of the jobs and those resident on a node.
        transfer_in_s: (J, N) moving the input from the job's ingress; 0 at the ingress itself.
        load_s: (J, N) loading the model and adapters; 0 where all of them will be in memory.
        adapters_load_s: (J, N) loading the adapters alone.
        generation_s: (J, N) predicted median.
        generation_log_std: (J, N) spread of its logarithm: how unsure the estimate is.
        transfer_out_s: (J, N) moving the result back.
        backlog_s: (N,) predicted seconds of work a node still has.
        room: (N,) free places in the node's window.
        eligible: (J, N) the node is up, not draining, and can serve the job's model.
        is_ingress: (J, N) the job's input is already there.
        waited_s: (J,) since the job was accepted.
        latent_action: (J, N) action probabilities of each job's last decision, rows of NaN before the first.
        model: (J,) index of each job's model.
        cold_load_s: (M, N) loading a model where it is not resident.
        resident: for each node the indices of the models that will be in memory, least recently used first.
        resident_limit: (N,) how many models a node keeps in memory.
        waiting: how many jobs wait, including those too far behind to be listed.
        typical_generation_s: generation of the last jobs; before any is done, the predicted median of those listed.
        priority: (J,) class of each job, 0 goes first.
        client: (J,) number of each job's client.
        client_had_s: by number, seconds of work that each client was given, on the clock of the fair shares.
        work_s: (J,) seconds of work that each job will count for.
        share_step_s: seconds of work by which clients may be apart and still count as equal.
        handover_s: from the end of an attempt until the node could begin one that is sent only then.
    """

    jobs: tuple[str, ...]
    nodes: tuple[str, ...]
    models: tuple[str, ...]
    transfer_in_s: FloatArray
    load_s: FloatArray
    adapters_load_s: FloatArray
    generation_s: FloatArray
    generation_log_std: FloatArray
    transfer_out_s: FloatArray
    backlog_s: FloatArray
    room: NDArray[np.int64]
    eligible: NDArray[np.bool_]
    is_ingress: NDArray[np.bool_]
    waited_s: FloatArray
    latent_action: FloatArray
    model: NDArray[np.int64]
    cold_load_s: FloatArray
    resident: tuple[tuple[int, ...], ...]
    resident_limit: NDArray[np.int64]
    waiting: int
    typical_generation_s: float
    priority: NDArray[np.int64]
    client: NDArray[np.int64]
    client_had_s: FloatArray
    work_s: FloatArray
    share_step_s: float
    handover_s: float = 0.0

    @property
    def service_s(self) -> FloatArray:
        """(J, N) predicted seconds for which a job keeps a node busy: load and generation."""
        return self.load_s + self.generation_s

    @property
    def delay_s(self) -> FloatArray:
        """(J, N) predicted seconds from now to the result if the job were placed on an idle place of the node."""
        arrival = np.maximum(self.transfer_in_s, self.backlog_s[None, :])
        return arrival + self.service_s + self.transfer_out_s


def observe(
    jobs: Sequence[JobView],
    nodes: Sequence[NodeView],
    estimates: Estimates,
    *,
    waiting: int | None = None,
    share_step_s: float = math.inf,
    handover_s: float = 0.0,
) -> Observation:
    """Build the observation of `jobs` (in the planner's order) over `nodes`.

    Args:
        jobs: the first WAITING jobs.
        nodes: the nodes, by name.
        estimates: of the nodes' speeds and load times.
        waiting: how many jobs wait in all; None: those listed.
        share_step_s: seconds of work by which clients may be apart and still count as equal.
        handover_s: from the end of an attempt until the node could begin one that is sent only then.

    Cost: O(models x N) look-ups when an estimate has changed and O(J x N) vectorised arithmetic.
    """
    models = sorted({job.model for job in jobs}.union(*(node.resident for node in nodes)))
    index = {model: m for m, model in enumerate(models)}
    model = np.array([index[job.model] for job in jobs], dtype=np.int64)
    units = np.array([job.units for job in jobs], dtype=np.float64)[:, None]
    resident = tuple(tuple(index[name] for name in node.resident) for node in nodes)
    outfits = sorted({outfit_of(job.model, job.adapters) for job in jobs if job.adapters})
    row_of = {name: row for row, name in enumerate((*models, *outfits))}
    outfit = np.array([row_of[outfit_of(job.model, job.adapters)] for job in jobs], dtype=np.int64)
    table = estimates.table([*models, *outfits], [node.node for node in nodes])
    cold_load_s = table.load_s[: len(models)]
    adapters_load_s = np.where(_adapters_loaded(jobs, nodes), 0.0, table.load_s[outfit])
    transfer_in_s, transfer_out_s, is_ingress = _transfers(jobs, nodes)
    serves = np.array(
        [[node.accepts_jobs and (node.models is None or name in node.models) for node in nodes] for name in models],
        dtype=bool,
    ).reshape(len(models), len(nodes))
    n = np.array([job.n for job in jobs], dtype=np.float64)[:, None]
    work = units / n * (1.0 + table.further_image[outfit] * (n - 1.0)) + table.overhead_units[outfit]
    generation_s = table.s_per_unit[outfit] * work
    had_s = {job.client: job.client_had_s for job in jobs}
    number = {client: n for n, client in enumerate(had_s)}
    return Observation(
        jobs=tuple(job.job for job in jobs),
        nodes=tuple(node.node for node in nodes),
        models=tuple(models),
        transfer_in_s=transfer_in_s,
        load_s=np.where(held(resident, len(models))[model], 0.0, cold_load_s[model]) + adapters_load_s,
        adapters_load_s=adapters_load_s,
        generation_s=generation_s,
        generation_log_std=table.log_std[outfit],
        transfer_out_s=transfer_out_s,
        backlog_s=np.array([node.backlog_s for node in nodes], dtype=np.float64),
        room=np.array([node.room for node in nodes], dtype=np.int64),
        eligible=serves[model],
        is_ingress=is_ingress,
        waited_s=np.array([job.waited_s for job in jobs], dtype=np.float64),
        latent_action=_latent_actions(jobs, nodes),
        model=model,
        cold_load_s=cold_load_s,
        resident=resident,
        resident_limit=np.array([node.resident_limit for node in nodes], dtype=np.int64),
        waiting=len(jobs) if waiting is None else waiting,
        typical_generation_s=_typical_generation_s(estimates, generation_s),
        priority=np.array([job.priority for job in jobs], dtype=np.int64),
        client=np.array([number[job.client] for job in jobs], dtype=np.int64),
        client_had_s=np.array(list(had_s.values()), dtype=np.float64),
        work_s=np.array([job.work_s for job in jobs], dtype=np.float64),
        share_step_s=share_step_s,
        handover_s=handover_s,
    )


def _typical_generation_s(estimates: Estimates, predicted_s: FloatArray) -> float:
    if estimates.typical_generation.count:
        return estimates.typical_generation.median
    return float(np.median(predicted_s)) if predicted_s.size else 1.0


def held(resident: Sequence[Sequence[int]], models: int) -> NDArray[np.bool_]:
    """(M, N) whether each of `models` models is among the resident ones of each node."""
    mask = np.zeros((models, len(resident)), dtype=bool)
    for node, indices in enumerate(resident):
        mask[list(indices), node] = True
    return mask


def _adapters_loaded(jobs: Sequence[JobView], nodes: Sequence[NodeView]) -> NDArray[np.bool_]:
    """(J, N) whether a job's adapters will all be in the node's memory, with its model; where it has none, they are."""
    loaded = np.ones((len(jobs), len(nodes)), dtype=bool)
    for row, job in enumerate(jobs):
        for column, node in enumerate(nodes if job.adapters else ()):
            there = node.adapters.get(job.model, ())
            loaded[row, column] = all(name in there for name in job.adapters)
    return loaded


def _transfers(jobs: Sequence[JobView], nodes: Sequence[NodeView]) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """(J, N) seconds to move input and result between ingress and node; whether the node is the ingress."""
    ingresses = sorted({job.ingress or "" for job in jobs})
    row_of = {ingress: row for row, ingress in enumerate(ingresses)}
    shape = (len(ingresses), len(nodes))
    rate = np.array(
        [[node.link_mbit_s.get(ingress, DEFAULT_LINK_MBIT_S) for node in nodes] for ingress in ingresses],
        dtype=np.float64,
    ).reshape(shape)
    is_ingress = np.array([[ingress == node.node for node in nodes] for ingress in ingresses], dtype=bool)
    is_ingress = is_ingress.reshape(shape)
    rows = np.array([row_of[job.ingress or ""] for job in jobs], dtype=np.int64)
    s_per_mbit = np.where(is_ingress, 0.0, 1.0 / rate)[rows]
    input_mbit = np.array([job.input_mbit for job in jobs], dtype=np.float64)[:, None]
    output_mbit = np.array([job.output_mbit for job in jobs], dtype=np.float64)[:, None]
    return input_mbit * s_per_mbit, output_mbit * s_per_mbit, is_ingress[rows]


def _latent_actions(jobs: Sequence[JobView], nodes: Sequence[NodeView]) -> FloatArray:
    """(J, N) last probabilities; 0 for a node that is new since the job's last decision, NaN for a job without one."""
    latent = np.full((len(jobs), len(nodes)), np.nan)
    column = {node.node: k for k, node in enumerate(nodes)}
    for row, job in enumerate(jobs):
        if job.latent_action is not None and any(job.latent_action.values()):
            latent[row] = 0.0
            for name, probability in job.latent_action.items():
                if name in column:
                    latent[row, column[name]] = probability
    return latent
