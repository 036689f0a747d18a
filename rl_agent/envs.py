"""The Gymnasium ids of this package, registered when Gymnasium is imported and not before.

A planner imports `rl_agent` and needs no Gymnasium, which may not even be installed; and since 1.0 Gymnasium does not
read entry points of other packages. So `import rl_agent` registers the ids at once if Gymnasium is loaded already;
otherwise `GymnasiumFinder` waits for that import and removes itself then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType

ENVIRONMENTS = {
    "EdgeOffloading-v0": "rl_agent.edge_offloading.env:EdgeOffloadingEnv",
    "EdgePlacement-v1": "rl_agent.edge_placement.env:EdgePlacementEnv",
    "GenAITrace-v1": "rl_agent.edge_placement.genai_trace_env:GenAITraceEnv",
}


def register_with_gymnasium() -> None:
    """Register the ids now if Gymnasium is loaded, else when it is imported."""
    if "gymnasium" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, GymnasiumFinder())


def _register() -> None:
    from gymnasium import register

    for name, entry_point in ENVIRONMENTS.items():
        register(id=name, entry_point=entry_point)


class GymnasiumFinder(MetaPathFinder):
    """Finds Gymnasium, once, with a loader that registers the ids after it has loaded it.

    Source: https://docs.python.org/3/reference/import.html#the-meta-path
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load Gymnasium; None, which asks the next finder, for every other module."""
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = RegisteringLoader(spec.loader.name, spec.loader.path)
        return spec


class RegisteringLoader(SourceFileLoader):
    """Loads a module from its file and then registers the ids."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then register."""
        super().exec_module(module)
        _register()
