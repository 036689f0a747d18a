"""What a sender may ask for, and which jobs it may hear of and change: its owner's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_config.errors import RequestRefusedError
from broker_config.messages import Priority, Submission
from broker_config.refusals import is_own_id
from broker_config.settings import Settings
from planner.state.jobs import LiveJob, user_of_client

HeldTo = str | None
"""The broker's user whose jobs alone a sender may submit, change and ask about; None: everybody's.

A gateway may know all jobs of its API keys; which key may know which, it sees to itself.
"""

UNKNOWN_JOB = "the planner's ledger has no such job; check the id, and that LADLE_BROKER_URL names the right broker"


def may_know(owner: HeldTo, live: LiveJob | None, row: Mapping[str, Any] | None = None) -> bool:
    """Whether a sender that is held to `owner` may hear of a job, open or ended, and change it."""
    if live is not None:
        return owner in (None, user_of_client(live.owner))
    return row is None or owner in (None, user_of_client(row["client"]))


def check_submission(settings: Settings, submission: Submission, owner: HeldTo) -> None:
    """Refuse what `owner` may not ask for.

    Raises:
        RequestRefusedError: a key that could be another's, or a priority that it has no right to.
    """
    if owner is not None and not is_own_id(submission.job, owner):
        raise RequestRefusedError(
            f"idempotency_key: {submission.job[:60]!r} is no key of {owner}: they begin with '{owner}.'",
            "idempotency_key",
        )
    check_priority(settings, submission.priority, owner)


def check_priority(settings: Settings, priority: Priority, owner: HeldTo) -> None:
    """Refuse a priority that `owner` has no right to.

    Raises:
        RequestRefusedError: the message says who gives that right.
    """
    if owner is not None and priority is Priority.HIGH and owner not in settings.high_priority_owners:
        raise RequestRefusedError(
            f"priority: {owner} may give no job priority high: LADLE_HIGH_PRIORITY of the planner names who may",
            "priority",
        )
