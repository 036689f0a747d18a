"""Which nodes have another model under a name than other nodes: a folder there may hold another one.

Most nodes decide: one that differs from more than half of those present gets no jobs of that model. Where none has a
majority, such as one node against another, nobody can tell which is meant. Then all draw on, and it is said at each:
barring the later one would let whoever starts first, or says so, stop the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from planner.state.cluster import LiveNode, NodeState

PRESENT = (NodeState.READY, NodeState.DRAINING)


def odd_models(nodes: Iterable[LiveNode]) -> dict[str, dict[str, bool]]:
    """Return by node the models that differ from those of others, and whether it is barred from them: most nodes agree.

    A node that reports nothing of a model differs from nobody.
    """
    files_of: dict[str, dict[str, str]] = defaultdict(dict)
    for node in nodes:
        if node.state in PRESENT:
            for model, files in node.report.model_files.items():
                files_of[model][node.name] = files
    odd: dict[str, dict[str, bool]] = defaultdict(dict)
    for model, by_node in files_of.items():
        (usual, count), *others = Counter(by_node.values()).most_common()
        has_majority = 2 * count > len(by_node)
        for name, files in by_node.items() if others else ():
            if not (has_majority and files == usual):
                odd[name][model] = has_majority
    return odd
