"""One attempt in memory that a node has not finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_config.messages import AttemptKey
from planner.ledger.tables import AttemptState
from rl_agent.placing.outfits import outfit_of


@dataclass(kw_only=True)
class LiveAttempt:
    """One attempt that a node has not finished.

    Attributes:
        begins_at: when the node began it, as far as the planner can tell; None while it is queued behind others.
        resent: how often its message was sent again to a node that stays idle although it holds the attempt.
        withdrawn: the job was taken back or cancelled; the place stays occupied until the node confirms.
        loads: when it was placed, its model was not about to be in the node's memory.
        adapters: names of those that it is drawn with.
        said_before_s: what the node had reported until then (`SaidTimes.total_s`).
    """

    job: str
    number: int
    node: str
    model: str
    units: float
    images: int
    predicted_s: float
    placed_at: float
    placer: str
    policy_version: str | None
    begins_at: float | None = None
    published: bool = False
    resent: int = 0
    withdrawn: bool = False
    loads: bool = True
    said_before_s: float = 0.0
    adapters: tuple[str, ...] = ()

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], *, model: str, adapters: tuple[str, ...], units: float, images: int
    ) -> LiveAttempt:
        """Return the attempt of a ledger row that is not closed; the arguments are not in the row."""
        return cls(
            job=row["job"],
            number=row["number"],
            node=row["node"],
            model=model,
            adapters=adapters,
            units=units,
            images=images,
            predicted_s=row["predicted_service_s"],
            placed_at=row["created_at"],
            placer=row["placer"],
            policy_version=row["policy_version"],
            published=row["state"] == AttemptState.PUBLISHED,
        )

    @property
    def key(self) -> AttemptKey:
        """Return job id and attempt number."""
        return self.job, self.number

    @property
    def outfit(self) -> str:
        """Return the model with its adapters."""
        return outfit_of(self.model, self.adapters)

    def send_again(self) -> None:
        """Put the attempt back into the outbox."""
        self.published = False
        self.resent += 1
