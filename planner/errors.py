"""What can go wrong in the planner and its client.

LadleError (broker_config.errors)
├── DatabaseUnavailableError   the ledger cannot be reached or read
├── NoLedgerYetError           no planner has ever run on it
├── StoreUnavailableError      the image store cannot be written or read
├── ImagesRefusedError         an outcome brought no usable images
├── PlacingFailedError         the WAITING jobs could not be placed
├── PlannerSilentError         no planner answers
├── DeadLetterError            a dead letter cannot be requeued
├── ResultTimeoutError         a result did not arrive in the time given
├── JobNotWaitingError         the job waits no longer, so its priority stays
└── JobFailedError             the job ended without images
    ├── JobRefusedError        the planner did not accept it
    ├── JobUnknownError        no planner knows it
    ├── JobCancelledError      somebody cancelled it
    └── JobExpiredError        its deadline passed
"""

from __future__ import annotations

from broker_config.errors import LadleError, without_password


class DatabaseUnavailableError(LadleError):
    """The ledger cannot be reached or read."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"no ledger at {without_password(self.url)} ({self.reason}): start the database, or set LADLE_DATABASE_URL"
        )


class NoLedgerYetError(LadleError):
    """No planner has ever run on this ledger."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"no planner has run on {without_password(self.url)} yet: start one with `ladle planner` or `ladle up`"


class StoreUnavailableError(LadleError):
    """The image store cannot be written or read."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        where = without_password(self.url)
        return f"image store {where} failed ({self.reason}): make it writable, or set LADLE_STORE_URL"


class ImagesRefusedError(LadleError):
    """A done outcome brought images that cannot be kept."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the images of a done outcome are refused: {self.reason}"


class PlacingFailedError(LadleError):
    """The WAITING jobs could not be placed; no message is to blame, and none is lost."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the waiting jobs could not be placed, and wait on: {self.reason}"


class PlannerSilentError(LadleError):
    """No planner answered in time; nothing is lost, what was submitted waits in its queue."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(waited_s)
        self.waited_s = waited_s

    def __str__(self) -> str:
        return f"no planner answered within {self.waited_s:g} s: start one with `ladle planner`"


class DeadLetterError(LadleError):
    """A dead letter cannot be requeued."""

    def __init__(self, letter: int, reason: str) -> None:
        super().__init__(letter, reason)
        self.letter = letter
        self.reason = reason

    def __str__(self) -> str:
        return f"dead letter {self.letter} cannot be requeued: {self.reason}"


class ResultTimeoutError(LadleError, TimeoutError):
    """The result did not arrive in the time given; the job goes on."""

    def __init__(self, job: str, waited_s: float, last: str) -> None:
        super().__init__(job, waited_s, last)
        self.args = job, waited_s, last  # OSError would take the third one for a file name
        self.job = job

    def __str__(self) -> str:
        job, waited_s, last = self.args
        return f"job {job}: no result within {waited_s:g} s (last heard: {last}); it goes on, ask again later"


class JobNotWaitingError(LadleError):
    """The job waits no longer, so its priority stays as it is."""

    def __init__(self, job: str, reason: str) -> None:
        super().__init__(job, reason)
        self.job = job
        self.reason = reason

    def __str__(self) -> str:
        return f"job {self.job} keeps its priority: {self.reason}"


class JobFailedError(LadleError):
    """The job ended without images."""

    verb = "failed"

    def __init__(self, job: str, reason: str, kind: str = "") -> None:
        super().__init__(job, reason, kind)
        self.job = job
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"job {self.job} {self.verb}: {self.reason}"


class JobRefusedError(JobFailedError):
    """The planner did not accept the job."""

    verb = "was refused"


class JobUnknownError(JobFailedError):
    """The planner knows no such job."""

    verb = "is unknown"


class JobCancelledError(JobFailedError):
    """Somebody cancelled the job."""

    verb = "was cancelled"


class JobExpiredError(JobFailedError):
    """The job's deadline passed."""

    verb = "expired"
