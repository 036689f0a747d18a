"""What a finished job gives: images and where they came from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import fsspec
from PIL import Image

from broker_config.messages import Delays, Event, EventKind, StoredImage
from planner.client.conversion import convert
from planner.errors import JobCancelledError, JobExpiredError, JobFailedError, JobRefusedError, JobUnknownError


@dataclass(frozen=True, kw_only=True)
class ResultImage:
    """One image: `png` is its bytes, read from the store if it did not travel in the message."""

    seed: int
    stored: StoredImage

    @property
    def png(self) -> bytes:
        """Return the PNG bytes.

        Raises:
            OSError: the store cannot be read from here.
        """
        if self.stored.data is not None:
            return self.stored.png()
        with fsspec.open(self.stored.url) as file:
            return bytes(file.read())

    def pil(self) -> Image.Image:
        """Return the image for Pillow."""
        return Image.open(io.BytesIO(self.png))

    def save(self, path: str | Path) -> None:
        """Write the image; the ending chooses the format. A JPEG or WebP says in its EXIF data how it came to be.

        Raises:
            OSError: it cannot be written, or the store cannot be read from here.
            ValueError: no format has that ending.
        """
        path = Path(path)
        if path.suffix.lower() == ".png":
            path.write_bytes(self.png)
            return
        picture_format = Image.registered_extensions().get(path.suffix.lower())
        if picture_format is None:
            raise ValueError(f"{path.name!r} needs an ending such as .png or .jpg")
        convert(self.png, path, picture_format)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The images of one job and their provenance.

    Attributes:
        delays: service delay part by part, in seconds.
        warnings: sentences about the request, such as unknown words.
    """

    job: str
    images: tuple[ResultImage, ...]
    node: str
    model: str
    attempts: int
    placer: str
    policy_version: str | None
    delays: Delays
    warnings: tuple[str, ...]


def result_of(event: Event) -> Result:
    """Return the result that a terminal event carries.

    Raises:
        JobFailedError: or one of its kinds: the job ended without images.
    """
    if event.kind is EventKind.DONE and event.delays is not None:
        return Result(
            job=event.job,
            images=tuple(ResultImage(seed=image.seed, stored=image) for image in event.images),
            node=event.node or "",
            model=event.model or "",
            attempts=event.attempt,
            placer=event.placer or "",
            policy_version=event.policy_version,
            delays=event.delays,
            warnings=event.warnings,
        )
    errors = {
        EventKind.REFUSED: JobRefusedError,
        EventKind.UNKNOWN: JobUnknownError,
        EventKind.CANCELLED: JobCancelledError,
        EventKind.EXPIRED: JobExpiredError,
    }
    error = errors.get(event.kind, JobFailedError)
    reason = event.reason or {"cancelled": "as asked", "expired": "its deadline passed"}.get(
        event.kind, "no reason given"
    )
    raise error(event.job, reason, event.failure.kind if event.failure else "")
