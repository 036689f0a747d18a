"""What can go wrong with policies, experience and retraining.

LadleError
└── RlAgentError
    ├── PolicyError               a learned policy cannot be used: the planner falls back to earliest completion
    │   ├── PolicyFileError       its folder is missing, damaged, or made for another observation
    │   ├── PolicyAnswerError     it answered NaN or infinity
    │   └── UnknownPolicyError    the ledger has no such version, or its state does not allow what is asked
    ├── ExperienceFormatError     a logged decision cannot be read: training leaves it out
    └── RetrainingError           a round of retraining cannot continue
"""

from __future__ import annotations

from broker_config.errors import LadleError


class RlAgentError(LadleError):
    """Root of this package's errors."""


class PolicyError(RlAgentError):
    """A learned policy cannot be used."""


class PolicyFileError(PolicyError):
    """A policy folder cannot be loaded."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder = folder
        self.reason = reason

    def __str__(self) -> str:
        return f"policy {self.folder!r} cannot be loaded: {self.reason}; export it again or choose another"


class PolicyAnswerError(PolicyError):
    """A policy answered NaN or infinity."""

    def __init__(self, version: str, job: str) -> None:
        super().__init__(version, job)
        self.version = version
        self.job = job

    def __str__(self) -> str:
        return f"policy {self.version!r} answered NaN or infinity for job {self.job!r}: roll it back"


class UnknownPolicyError(PolicyError):
    """The ledger has no such policy, or it is in a state that does not allow what is asked."""


class ExperienceFormatError(RlAgentError):
    """A logged decision cannot be read."""


class RetrainingError(RlAgentError):
    """A round of retraining cannot continue."""
