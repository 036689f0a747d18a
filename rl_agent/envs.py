"""The Gymnasium ids of this package, registered when Gymnasium is imported and not before.

Whoever serves a policy imports `rl_agent` and may not even have Gymnasium, and Gymnasium 1.x reads no entry points of
other packages. So `import rl_agent` registers the ids at once if Gymnasium is loaded already, and otherwise when it
will be: `GymnasiumFinder` waits for that import and then withdraws.
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
    """Finds Gymnasium, once, as every other import would, with a loader that registers the ids at its end.

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
