"""Ledger, placement, recorder, Python client and command line.

What is exported here is imported when it is asked for: no process and no command waits for what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.client.async_client import AsyncClient, AsyncJobHandle
    from planner.client.client import Client, JobHandle
    from planner.client.result import Result, ResultImage

__all__ = ["AsyncClient", "AsyncJobHandle", "Client", "JobHandle", "Result", "ResultImage"]

_MODULES = {"AsyncClient": "async_client", "AsyncJobHandle": "async_client", "Client": "client", "JobHandle": "client"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.client.{_MODULES.get(name, 'result')}"), name)
