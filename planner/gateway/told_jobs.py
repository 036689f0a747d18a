"""A job as it is told over HTTP: an event, with URLs in place of the images."""

from __future__ import annotations

from typing import Any

from broker_config.messages import Event, EventKind
from planner.errors import JobUnknownError
from planner.gateway.keys import Owner
from planner.gateway.orders import HIGHEST_QUALITY
from planner.gateway.pictures import picture_path

NOT_TOLD = {"images", "warnings"}


def known(answer: Event) -> Event:
    """Return the planner's answer about a job.

    Raises:
        JobUnknownError: it knows no such job.
    """
    if answer.kind is EventKind.UNKNOWN:
        raise JobUnknownError(answer.job, answer.reason or "")
    return answer


def event_id(event: Event) -> str:
    """Return what a client that comes back says it heard last: which event of which attempt, the same everywhere."""
    return f"{event.kind}.{event.attempt}.{event.step or 0}"


def kind_of(last_event_id: str) -> str:
    """Return which kind of event it was that a client heard last."""
    return last_event_id.partition(".")[0]


def told(owner: Owner, event: Event, base: str = "") -> dict[str, Any]:
    """Return an event for HTTP.

    Args:
        owner: of the job, who alone may fetch its images.
        event: about the job.
        base: URL of the gateway, where paths alone would say too little.
    """
    answer = event.model_dump(mode="json", exclude_none=True, exclude=NOT_TOLD)
    if event.priority is not None:
        answer["priority"] = event.priority.name.lower()
    if event.kind is EventKind.DONE:
        paths = [picture_path(owner, event.job, index, "png", HIGHEST_QUALITY) for index in range(len(event.images))]
        pairs = zip(paths, event.images, strict=True)
        answer["images"] = [{"url": base + path, "seed": image.seed} for path, image in pairs]
    return {**answer, "warnings": list(event.warnings)}
