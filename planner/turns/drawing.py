"""The images that a done outcome brings: checked, stored, and what is told and written of them."""

from __future__ import annotations

import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from broker_config.messages import Delays, Outcome, StoredImage
from planner.state.cluster import LiveAttempt
from planner.state.jobs import LiveJob
from planner.store import PNG_SIGNATURE, Store


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a DONE job gave.

    Attributes:
        attempt: that drew it.
        sent: images as the node sent them: inline, or lying in the store.
        stored: the same images where the ledger says they lie.
        delays: measured parts of the service delay.
    """

    attempt: LiveAttempt
    sent: tuple[StoredImage, ...]
    stored: tuple[StoredImage, ...]
    delays: Delays
    warnings: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """Return what the job's ledger row holds of it."""
        return {
            "images": [image.to_wire() for image in self.stored],
            "warnings": list(self.warnings) or None,
            "placer": self.attempt.placer,
            "policy_version": self.attempt.policy_version,
            **self.delays.model_dump(),
        }

    def told(self, model: str) -> dict[str, Any]:
        """Return what the `done` event tells of it; inline images go along as they are."""
        pairs = zip(self.sent, self.stored, strict=True)
        return {
            "images": tuple(sent if sent.data else stored for sent, stored in pairs),
            "delays": self.delays,
            "warnings": self.warnings,
            "model": model,
            "placer": self.attempt.placer,
            "policy_version": self.attempt.policy_version,
        }


def store_drawing(store: Store, job: LiveJob, attempt: LiveAttempt, outcome: Outcome, now: float) -> Drawing:
    """Store the images of a done outcome.

    Args:
        store: where images stay.
        job: that is done `now`.
        attempt: that drew it.
        outcome: without a problem (`problem_with`).
        now: seconds on the planner's clock.

    Raises:
        StoreUnavailableError: nothing is lost; the outcome can be recorded again.
    """
    stored = tuple(store.put(job.id, index, image) for index, image in enumerate(outcome.images))
    timings = outcome.timings
    on_node_s = timings.transfer_in_s + timings.load_s + timings.generation_s + timings.transfer_out_s
    delays = Delays(waiting_s=max(now - job.created_at - on_node_s, 0.0), **timings.model_dump())
    return Drawing(attempt=attempt, sent=outcome.images, stored=stored, delays=delays, warnings=outcome.warnings)


def problem_with(outcome: Outcome, wanted: int, store: Store) -> str | None:
    """Say what is wrong with the images of a done outcome, if anything; `wanted` is how many the job asked for."""
    if len(outcome.images) != wanted:
        return f"{len(outcome.images)} images came instead of {wanted}"
    problems = (
        _problem_inline(image) if image.data is not None else _problem_stored(image, outcome, store)
        for image in outcome.images
    )
    return next((problem for problem in problems if problem is not None), None)


def _problem_stored(image: StoredImage, outcome: Outcome, store: Store) -> str | None:
    if image.url is None:
        return "an image came without data"
    belongs = store.holds_of(image, outcome.job, outcome.attempt)
    reason = store.why_unreadable(image) if belongs else "not where this attempt's images go"
    if reason is None:
        return None
    return (
        f"the planner cannot read {image.url} ({reason}): "
        "LADLE_STORE_URL must be one store that workers and planner share"
    )


def _problem_inline(image: StoredImage) -> str | None:
    try:
        png = image.png()
    except binascii.Error:
        return "an image is not base64"
    if not png.startswith(PNG_SIGNATURE) or hashlib.sha256(png).hexdigest() != image.sha256:
        return "an image is not the PNG its hash names"
    return None
