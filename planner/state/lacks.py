"""What of a job's needs a node lacks, and what to tell who waits when no node that is up has it all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.state.cluster import Cluster, LiveNode, NodeState, few
from planner.state.needs import Needs, Thing

NAMED_NODES = 3  # in a sentence
NEAREST_FIRST = ("adapter", "size", "memory", "model")  # a node that only lacks the first has all of the others
STATES = {NodeState.DRAINING: "is draining", NodeState.UNFIT: "is unfit"}


def lack(cluster: Cluster, node: LiveNode, needs: Needs, now: float) -> Thing | None:
    """Return the first thing of a job's needs that a node lacks, as it reports, or as it has refused; None: nothing."""
    model, abilities = Thing("model", needs.model), node.report.abilities
    if not node.serves(needs.model) or node.refusals.reason(model, now) is not None:
        return model
    if needs.adapters and node.refusals.reason(Thing("model", needs.outfit), now) is not None:
        return Thing("model", needs.outfit)
    if abilities is not None:
        sides = node.sides_px(needs.model)
        if sides is not None and not (needs.width_px in sides and needs.height_px in sides):
            return Thing("size", f"{needs.width_px}x{needs.height_px}")
        if not cluster.may_fit(node, needs.model):
            return Thing("memory", needs.model)
    for adapter in needs.adapters:
        thing = Thing("adapter", adapter)
        if not node.has_adapter(adapter) or node.refusals.reason(thing, now) is not None:
            return thing
    return None


def can_draw(cluster: Cluster, needs: Needs, now: float) -> bool:
    """True when a ready node has all that a job needs, and may be given such a job now."""
    return any(
        node.accepts_jobs and node.admits(needs, now) and lack(cluster, node, needs, now) is None
        for node in cluster.nodes.values()
    )


def missing(cluster: Cluster, needs: Needs, now: float) -> str | None:
    """Say what keeps every node that is ready from a job; None where one has it all, or none is ready."""
    if any(node.accepts_jobs and lack(cluster, node, needs, now) is None for node in cluster.nodes.values()):
        return None
    ready = cluster.ready()
    lacks = {node.name: lack(cluster, node, needs, now) for node in ready}
    things = [thing for thing in lacks.values() if thing is not None]
    if not things:
        return None
    kind = min((thing.kind for thing in things), key=NEAREST_FIRST.index)
    nearest = [node for node in ready if lacks[node.name] in [thing for thing in things if thing.kind == kind]]
    thing = next(thing for thing in things if thing.kind == kind)
    if kind == "adapter":
        nowhere = [name for name in needs.adapters if not any(node.has_adapter(name) for node in nearest)]
        if not nowhere and len({thing for thing in things if thing.kind == kind}) > 1:
            return f"adapters {few(list(map(repr, needs.adapters)))} are together on no node that is up"
        thing = Thing("adapter", nowhere[0]) if nowhere else thing
    return "; ".join(
        [_said(cluster, needs, thing, nearest), *_had(cluster, thing, now), *_refused(nearest, thing, now)]
    )


def _said(cluster: Cluster, needs: Needs, thing: Thing, nearest: Sequence[LiveNode]) -> str:
    match thing.kind:
        case "adapter":
            return f"adapter {thing.name!r} is on no node that is up"
        case "size":
            sides = sorted({side for node in nearest for side in node.sides_px(needs.model) or ()})
            return (
                f"size {thing.name} of {needs.model!r} is drawn by no node that is up: each side must be "
                f"{few(list(map(str, sides)))} pixels"
            )
        case "memory":
            needed = cluster.needed_mib(nearest[0], needs.model) or 0.0
            return f"model {needs.model!r} needs {needed:,.0f} MiB of memory, and no node that is up has that much"
        case _:
            return f"no ready node serves model {needs.model!r}"


def _had(cluster: Cluster, thing: Thing, now: float) -> Iterator[str]:
    """Say which nodes that take no jobs had it."""
    others = [node for node in cluster.nodes.values() if not node.accepts_jobs and node.said_to_have(thing)]
    for node in others[:NAMED_NODES]:
        if node.state is NodeState.GONE:
            yield f"{node.name} had it, gone since {in_words(now - node.seen_at)}"
        else:
            yield f"{node.name} has it and {STATES.get(node.state, 'takes no jobs')}"


def _refused(nearest: Sequence[LiveNode], thing: Thing, now: float) -> Iterator[str]:
    """Say why nodes refused it that should have it."""
    said = [(node.name, node.refusals.reason(thing, now)) for node in nearest]
    for name, reason in [(name, reason) for name, reason in said if reason][:NAMED_NODES]:
        yield f"{name}: {reason}"


def in_words(seconds: float) -> str:
    """Return a duration in the largest unit that it fills."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
