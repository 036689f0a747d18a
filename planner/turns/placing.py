"""The end of every turn: the first WAITING jobs are put to the placer, and it gives nodes to those it can."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.calibration import Calibration, Stage
from planner.state.cluster import Cluster, LiveNode
from planner.state.eta import foretold_when_placed_s
from planner.state.jobs import LiveJob
from planner.state.lacks import can_draw, lack
from planner.turns.book import Book
from planner.turns.choice import Choice
from planner.turns.decision_log import Beside, experience_rows
from planner.turns.turn import Turn
from rl_agent.placing.observation import JobView, Observation, observe
from rl_agent.placing.placer import WAITING, Placement, Placer
from rl_agent.placing.rules import EarliestCompletionPlacer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is put to the placer at once.

    Attributes:
        jobs: taken out of the WAITING ones, in the planner's order: the rows of `observation`.
        views: what the placer sees of each.
        nodes: the columns of `observation`.
    """

    jobs: Sequence[LiveJob]
    views: Sequence[JobView]
    nodes: Sequence[LiveNode]
    observation: Observation


def place_waiting(book: Book, turn: Turn, placer: Placer, beside: Beside | None = None) -> None:
    """Place as many WAITING jobs as there is room for; the others go on waiting.

    Args:
        book: the jobs and nodes.
        turn: takes the attempts and the experience.
        placer: chooses the nodes.
        beside: what else the experience notes of each decision.
    """
    batch = _take_batch(book, turn.now)
    if batch is None:
        return
    began = time.perf_counter()
    placement = _placement(placer, batch.observation)
    turn.note_placing(time.perf_counter() - began)
    for row in np.flatnonzero(placement.node < 0).tolist():
        book.keep_waiting(batch.jobs[row], _latent_action(batch.observation, placement, row))
    placed = []
    for row in placement.in_order():
        if placement.node[row] == WAITING:
            continue
        if not batch.nodes[placement.node[row]].admits(batch.jobs[row].needs, turn.now):
            book.keep_waiting(batch.jobs[row], _latent_action(batch.observation, placement, row))
            continue  # the job before it is the trial
        promises = book.calibrations[Stage.PLACED]
        choice = _choice(batch, placement, row, placer.name, promises, turn.now)  # behind those given before it
        placed.append((choice, book.place(turn, choice)))
    if book.settings.experience_kept:
        turn.decide(experience_rows(batch.observation, placement, placed, beside))


def _placement(placer: Placer, observation: Observation) -> Placement:
    """Ask the placer; earliest completion answers where it raises, or answers what cannot be."""
    try:
        placement = placer.place(observation)
        jobs, nodes = observation.eligible.shape
        chosen = placement.node
        is_of_form = chosen.shape == (jobs,) and placement.probabilities.shape == (jobs, nodes)
        is_of_form = is_of_form and (placement.rank is None or placement.rank.shape == (jobs,))
        if not is_of_form or np.any((chosen < WAITING) | (chosen >= nodes)):
            raise ValueError(f"an answer of the wrong form for {jobs} jobs and {nodes} nodes")
    except Exception:  # it may be anybody's
        logger.exception("placer %s failed; earliest-completion places instead", placer.name)
        return EarliestCompletionPlacer().place(observation)
    return placement


def _take_batch(book: Book, now: float) -> Batch | None:
    """Take the first jobs out of the WAITING ones: as many as there is room for, and some to choose among."""
    settings, cluster = book.settings, book.cluster
    room = cluster.room(settings.window, now)
    if room < 1 or not len(book.waiting):
        return None
    nodes = cluster.ready()
    drawable = {needs for needs in book.waiting.needs() if can_draw(cluster, needs, now)}
    jobs = book.waiting.take(int(min(room + settings.lookahead, len(book.waiting))), drawable)
    if not jobs:
        return None
    views = [job.view(now, book.waiting.had_s(job.owner)) for job in jobs]
    observation = observe(
        views,
        [node.view(settings.window, now) for node in nodes],
        cluster.estimates,
        waiting=len(jobs) + len(book.waiting),
        share_step_s=settings.fairness,
        handover_s=settings.handover_s,
    )
    observation = replace(observation, eligible=_eligible(observation, cluster, jobs, nodes, now))
    return Batch(jobs=jobs, views=views, nodes=nodes, observation=observation)


def _choice(batch: Batch, placement: Placement, row: int, placer: str, promises: Calibration, now: float) -> Choice:
    column = int(placement.node[row])
    node, observation, job = batch.nodes[column], batch.observation, batch.jobs[row]
    foretold_s = foretold_when_placed_s(observation, row, column, node.backlog_s(now))
    return Choice(
        row=row,
        job=job,
        view=batch.views[row],
        node=node,
        foretold_s=foretold_s,
        eta=promises.promise((job.id, job.attempts + 1), foretold_s, now),
        predicted_s=float(observation.service_s[row, column]),
        placer=placer,
        policy_version=placement.versions.get(row),
    )


def _eligible(
    observation: Observation, cluster: Cluster, jobs: Sequence[LiveJob], nodes: Sequence[LiveNode], now: float
) -> NDArray[np.bool_]:
    """(J, N) which nodes have what a job needs and may get it, without those that failed it unless no other is left."""
    eligible = observation.eligible.copy()
    able = {
        needs: np.array(
            [node.admits(needs, now) and lack(cluster, node, needs, now) is None for node in nodes], dtype=bool
        )
        for needs in {job.needs for job in jobs}
    }
    for row, job in enumerate(jobs):
        eligible[row] &= able[job.needs]
        if job.unfit_nodes:
            fit = eligible[row] & ~np.isin(observation.nodes, list(job.unfit_nodes))
            if fit.any():
                eligible[row] = fit
    return eligible


def _latent_action(observation: Observation, placement: Placement, row: int) -> Mapping[str, float]:
    """Return the probabilities of one job by node name, without the zeros."""
    probabilities = placement.probabilities[row]
    return {observation.nodes[k]: round(float(probabilities[k]), 6) for k in np.flatnonzero(probabilities)}
