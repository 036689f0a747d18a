"""What can go wrong with a served policy.

RlAgentError
└── PolicyError           a served policy cannot be used: the planner goes on with earliest completion
    ├── PolicyFileError   its folder is missing, damaged, or made for another observation
    └── PolicyAnswerError it answered with something that is no number
"""

from __future__ import annotations


class RlAgentError(Exception):
    """Root of this package's errors."""


class PolicyError(RlAgentError):
    """A served policy cannot be used."""


class PolicyFileError(PolicyError):
    """A policy folder cannot be loaded."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder = folder
        self.reason = reason

    def __str__(self) -> str:
        return f"policy {self.folder!r} cannot be loaded: {self.reason}; export it again or choose another"


class PolicyAnswerError(PolicyError):
    """A policy answered with something that is no number."""

    def __init__(self, version: str, job: str) -> None:
        super().__init__(version, job)
        self.version = version
        self.job = job

    def __str__(self) -> str:
        return f"policy {self.version!r} answered NaN or infinity for job {self.job!r}: roll it back"
