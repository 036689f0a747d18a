"""Ledger, placement, recorder, Python client and command line."""

from planner.async_client import AsyncClient, AsyncJobHandle
from planner.client import Client, JobHandle
from planner.result import Result, ResultImage

__all__ = ["AsyncClient", "AsyncJobHandle", "Client", "JobHandle", "Result", "ResultImage"]
