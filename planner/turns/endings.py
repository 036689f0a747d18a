"""What clients are told again of jobs that have ended: their last event, images included.

A question of a few kilobytes can ask for a gigabyte of images. So one batch of messages brings each owner so many bytes
only. What is over that stays unanswered, and a client that hears nothing asks again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from broker_config.messages import Delays, Event, EventKind, Failure, JobState, StoredImage
from planner.state.jobs import owner_of_client
from planner.store import Store
from planner.turns.turn import Turn

MAX_BYTES = 32 * 2**20  # of images as base64, to one owner: half a second or so of the planner's time


class Endings:
    """Tells the last events of jobs that have ended, for the messages of one batch.

    Args:
        store: of their images.
        gateways: as in `owner_of_client`.
    """

    def __init__(self, store: Store, gateways: Container[str] = ()) -> None:
        self._store = store
        self._gateways = gateways
        self._sent_bytes = Counter[str]()

    def tell(self, turn: Turn, client: str, row: Mapping[str, Any]) -> None:
        """Send `client` the end of the job of a ledger row, unless its owner has been sent too much."""
        owner = owner_of_client(client, self._gateways)
        if self._sent_bytes[owner] >= MAX_BYTES:
            return
        event = terminal_event(row, self._store)
        self._sent_bytes[owner] += sum(len(image.data or "") for image in event.images)
        turn.answer(client, event)


def terminal_event(row: Mapping[str, Any], store: Store) -> Event:
    """Return the last event of a job that has ended, from its ledger row, images included."""
    state = JobState(row["state"])
    failure = None if row["failure"] is None else Failure(**row["failure"])
    images = tuple(store.inline(StoredImage(**image)) for image in row["images"] or ())
    return Event(
        job=row["id"],
        kind=EventKind(state.lower()),
        state=state,
        attempt=row["attempts"],
        node=row["node"],
        failure=failure,
        reason=failure.message if failure else None,
        images=images,
        delays=delays_of(row),
        warnings=tuple(row["warnings"] or ()),
        model=row["model"],
        placer=row["placer"],
        policy_version=row["policy_version"],
    )


def delays_of(row: Mapping[str, Any]) -> Delays | None:
    """Return the measured delay parts of a DONE job's row."""
    if row["waiting_s"] is None:
        return None
    return Delays(**{name: row[name] for name in Delays.model_fields})
