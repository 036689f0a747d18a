"""The images of a DONE job, and how they came to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from broker_config.bounds import MAX_DURATION_S, MAX_PART_S
from broker_config.messages import Delays, Outcome, StoredImage
from planner.state.attempts import LiveAttempt


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a DONE job gave.

    Attributes:
        model: that drew it; `placer` and `policy_version` chose the node.
        sent: images as the node sent them: inline, or lying in the store.
        stored: the same images where the ledger says they lie.
        delays: measured parts of the service delay.
    """

    model: str
    placer: str
    policy_version: str | None
    sent: tuple[StoredImage, ...]
    stored: tuple[StoredImage, ...]
    delays: Delays
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        attempt: LiveAttempt,
        stored: tuple[StoredImage, ...],
        elapsed_s: float,
        held_up_s: float = 0.0,
    ) -> Self:
        """Return the drawing of a done outcome.

        Args:
            outcome: with its images and the node's timings.
            attempt: that drew them.
            stored: where they lie now.
            elapsed_s: seconds since the job was accepted; what the node did not measure of them was waiting,
            held_up_s: except for those that the outcome waited for a planner to run: they are of the way out.
        """
        timings = outcome.timings
        timings = timings.model_copy(update={"transfer_out_s": min(timings.transfer_out_s + held_up_s, MAX_PART_S)})
        on_node_s = timings.total_s
        return cls(
            model=attempt.model,
            placer=attempt.placer,
            policy_version=attempt.policy_version,
            sent=outcome.images,
            stored=stored,
            delays=Delays(waiting_s=min(max(elapsed_s - on_node_s, 0.0), MAX_DURATION_S), **timings.model_dump()),
            warnings=outcome.warnings,
        )

    def columns(self) -> dict[str, Any]:
        """Return what the job's ledger row holds of it."""
        return {
            "images": [image.to_wire() for image in self.stored],
            "warnings": list(self.warnings) or None,
            "placer": self.placer,
            "policy_version": self.policy_version,
            **self.delays.model_dump(),
        }

    def event_fields(self) -> dict[str, Any]:
        """Return what the `done` event tells of it; inline images go along as they are."""
        pairs = zip(self.sent, self.stored, strict=True)
        return {
            "images": tuple(sent if sent.data else stored for sent, stored in pairs),
            "delays": self.delays,
            "warnings": self.warnings,
            "model": self.model,
            "placer": self.placer,
            "policy_version": self.policy_version,
        }
