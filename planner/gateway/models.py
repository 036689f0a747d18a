"""Which models a caller may name, with which adapters: those of the nodes, as the ledger says, and the default one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from broker_config.settings import Settings
from planner.errors import DatabaseUnavailableError
from planner.gateway.defaults import read_defaults
from planner.ledger.ledger import Ledger, LedgerRow
from planner.state.cluster import NodeState

logger = logging.getLogger(__name__)

KEPT_S = 5.0  # a node reports every few seconds
SERVING = (NodeState.READY, NodeState.DRAINING)


class ServedModels:
    """The models of all nodes; kept for some seconds.

    Where no ledger can be read, those of the settings: a gateway needs the broker only.

    Attributes:
        defaults: what a request leaves unsaid, by model.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self.defaults = read_defaults(settings)
        self._ledger = ledger
        self._found: dict[str, tuple[str, ...]] = {settings.default_model: ()}
        self._read_at = -KEPT_S

    async def names(self) -> tuple[str, ...]:
        """Return the names, the default one first."""
        return tuple(await self.with_adapters())

    async def with_adapters(self) -> Mapping[str, tuple[str, ...]]:
        """Return the adapters of the nodes that serve each model, the default model first."""
        if time.monotonic() - self._read_at >= KEPT_S:
            self._read_at = time.monotonic()
            self._found = await asyncio.to_thread(self._read)
        return self._found

    def _read(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {name: set() for name in self._settings.node_models}
        try:
            if self._ledger.has_tables():
                with self._ledger.transaction(reads=True) as connection:
                    found = _offers(self._ledger.nodes(connection))
        except DatabaseUnavailableError as exc:
            logger.warning("the models of the settings are offered, not those of the nodes: %s", exc)
        default = self._settings.default_model
        names = (default, *sorted(found.keys() - {default}))
        return {name: tuple(sorted(found.get(name, ()))) for name in names}


def _offers(rows: Sequence[LedgerRow]) -> dict[str, set[str]]:
    """Return the models of nodes, each with the adapters of those that serve it."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        abilities = row["report"].get("abilities") or {}
        for model in models_of(row):
            found[model] |= (abilities.get("adapters") or {}).keys()
    return found


def models_of(row: LedgerRow) -> set[str]:
    """Return the models that a node serves or has loaded; one that would load any says nothing of the others."""
    if NodeState(row["state"]) not in SERVING:
        return set()
    report = row["report"]
    return {*(report.get("models") or ()), *report.get("resident", ()), *report.get("speeds", {})}
