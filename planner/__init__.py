"""Ledger, placement, recorder, Python client and command line."""

from planner.client.async_client import AsyncClient, AsyncJobHandle
from planner.client.client import Client, JobHandle
from planner.client.result import Result, ResultImage

__all__ = ["AsyncClient", "AsyncJobHandle", "Client", "JobHandle", "Result", "ResultImage"]
