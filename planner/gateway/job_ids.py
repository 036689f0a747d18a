"""Ids of the gateway's jobs, which name their owner: `http.ann.0199...`.

So every gateway knows whose a job is, without a table, and one owner's idempotency keys never meet another's. Where the
gateway has a broker user of its own, that one's name comes first (`web.http.ann.0199...`), as in all ids of its jobs.
"""

from __future__ import annotations

import hashlib

from broker_config.refusals import own_id
from broker_config.settings import Settings
from planner.client.request import uuid7
from planner.client.session import client_name
from planner.gateway.keys import Owner
from planner.gateway.waiting import Caller

KEY_CHARACTERS = 32  # of a key's hash: 128 bits


class JobIds:
    """The ids that a gateway gives, and whose they are.

    Args:
        settings: of the broker, hence of the gateway's user there.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = client_name(settings.broker)

    def prefix(self, owner: Owner) -> str:
        """Return how the ids of an owner's jobs begin."""
        return own_id(f"http.{owner.name}.", self._client)

    def new(self, caller: Caller) -> str:
        """Return the id of a caller's new job: of its idempotency key, if it has one, always the same."""
        if caller.key is None:
            return self.prefix(caller.owner) + str(uuid7())
        return self.prefix(caller.owner) + "key-" + hashlib.sha256(caller.key.encode()).hexdigest()[:KEY_CHARACTERS]


def owner_name(job: str) -> str:
    """Return the name of the owner in a job's id; empty where there is none."""
    return job.rsplit(".", 2)[-2] if job.count(".") >= 2 else ""
