"""Whose fault a failure was: the job's, or that of a node which fails what others do.

Nobody is blamed at once. A job that failed goes to another node; if it fails there as well, it says nothing about
either. A node with `JOBS_TO_OPEN` different failed jobs in a row gets no more of their outfit (model and adapters)
until a trial succeeds, provided that another node can draw with it and has failed none since its last success.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from broker_config.messages import Failure
from planner.state.breaker import JOBS_TO_OPEN, Breaker
from planner.state.cluster import Cluster, LiveNode
from planner.state.jobs import LiveJob
from planner.state.lacks import lack
from planner.state.needs import Needs

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Finding:
    """What a failure or a success has changed.

    Attributes:
        forgiven: jobs whose failures turn out to be a node's own: one failure each.
        opened: nodes that get no more jobs of the model for a while.
        closed: nodes that get them again.
    """

    forgiven: set[str] = field(default_factory=set)
    opened: list[LiveNode] = field(default_factory=list)
    closed: list[LiveNode] = field(default_factory=list)


def on_failure(cluster: Cluster, node: LiveNode, job: LiveJob, failure: Failure, now: float) -> Finding:
    """Note that `job` failed on `node`; `job.unfit_nodes` are those where it failed before."""
    finding, outfit = Finding(), job.needs.outfit
    breaker = node.breakers.setdefault(outfit, Breaker())
    breaker.reason = f"{failure.kind}: {failure.message}"
    others = [cluster.nodes[name] for name in job.unfit_nodes - {node.name} if name in cluster.nodes]
    for other in others:
        _acquit(finding, other, job)
    if not others:
        breaker.add(job.id)
        if breaker.is_open:
            breaker.fail_trial(now)
        else:
            _open_if_due(finding, cluster, node, job.needs, now)
    if breaker.is_open:
        finding.forgiven.add(job.id)
    return finding


def on_success(cluster: Cluster, node: LiveNode, job: LiveJob, now: float) -> Finding:
    """Note that `node` did `job`: the nodes where it failed before are to blame for that."""
    finding, outfit = Finding(), job.needs.outfit
    breaker = node.breakers.pop(outfit, None)
    if breaker is not None and breaker.is_open:
        logger.info("node %s gets jobs of %s again: a trial succeeded", node.name, outfit)
        finding.closed.append(node)
    for name in job.unfit_nodes - {node.name}:
        other = cluster.nodes.get(name)
        if other is not None and outfit in other.breakers:
            other.breakers[outfit].add(job.id)
            _open_if_due(finding, cluster, other, job.needs, now)
    return finding


def _acquit(finding: Finding, node: LiveNode, job: LiveJob) -> None:
    """Take from a node's failures a job that fails on other nodes as well."""
    breaker = node.breakers.get(job.needs.outfit)
    if breaker is None:
        return
    was_open = breaker.is_open
    breaker.discard(job.id)
    if was_open and not breaker.is_open:
        logger.info("node %s gets jobs of %s again: others fail them as well", node.name, job.needs.outfit)
        finding.closed.append(node)


def _open_if_due(finding: Finding, cluster: Cluster, node: LiveNode, needs: Needs, now: float) -> None:
    breaker = node.breakers[needs.outfit]
    if breaker.is_open or len(breaker.jobs) < JOBS_TO_OPEN or not _another_works(cluster, node, needs, now):
        return
    breaker.open(now)
    finding.opened.append(node)
    finding.forgiven |= breaker.jobs
    logger.warning(
        "node %s gets no more jobs of %s: it failed %d in a row, and other nodes do not; a trial in %g s. "
        "Mend the node, or `ladle drain %s`. Last failure: %s",
        node.name,
        needs.outfit,
        len(breaker.jobs),
        breaker.pause_s,
        node.name,
        breaker.reason,
    )


def _another_works(cluster: Cluster, node: LiveNode, needs: Needs, now: float) -> bool:
    outfit = needs.outfit
    return any(
        other is not node
        and lack(cluster, other, needs, now) is None
        and other.admits(needs, now)
        and (outfit not in other.breakers or not (other.breakers[outfit].is_open or other.breakers[outfit].jobs))
        for other in cluster.ready()
    )
