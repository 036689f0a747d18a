"""The versions of the learned policy, in the ledger's database: states, provenance, and the files themselves.

A policy has a few kilobytes, so its two files are columns of its row: adding or promoting one is one transaction,
planner and trainer need no common disk, and half a policy cannot exist. `file` checks what is read, hash first. At most
one version is PROMOTED, one CANARY and one SHADOW. While none is PROMOTED, the planner serves the policy of its
settings, by default the shipped one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Connection, LargeBinary, delete, insert, select, update
from sqlmodel import Field, SQLModel, col

from rl_agent.errors import UnknownPolicyError
from rl_agent.policy.file import PolicyFiles, parse_policy


class PolicyState(StrEnum):
    """What a version is used for."""

    CANDIDATE = "CANDIDATE"  #: trained and kept; decides nothing
    SHADOW = "SHADOW"  #: what it would have chosen is logged beside each decision
    CANARY = "CANARY"  #: decides about a share of the jobs
    PROMOTED = "PROMOTED"  #: decides
    RETIRED = "RETIRED"  #: was promoted; a rollback returns to the one that was retired last
    REJECTED = "REJECTED"  #: lost at the gate, or was rolled back; the reason says how


SERVING = (PolicyState.PROMOTED, PolicyState.CANARY, PolicyState.SHADOW)


class PolicyRow(SQLModel, table=True):
    """One version. `*_at` are Unix seconds.

    Attributes:
        share: of the jobs that it decides about as the canary.
        trial: what the gate measured.
        card: `policy.json`. weights: `policy.safetensors`.
    """

    __tablename__ = "policy"

    version: str = Field(primary_key=True)
    state: str
    reason: str = ""
    share: float = 0.0
    created_at: float
    promoted_at: float | None = None
    retired_at: float | None = None
    trial: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    card: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    weights: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


_DESCRIPTION = [column for column in PolicyRow.__table__.columns if column.name != "weights"]  # type: ignore[attr-defined]


def add_policy(
    connection: Connection, files: PolicyFiles, now: float, *, reason: str = "", trial: Mapping[str, Any] | None = None
) -> str:
    """Keep a policy as a CANDIDATE and return its version.

    Raises:
        PolicyFileError: the files do not fit together.
        UnknownPolicyError: there is another policy of that version.
    """
    card = parse_policy("new", files).card
    if connection.scalar(select(col(PolicyRow.version)).where(col(PolicyRow.version) == card.version)):
        raise UnknownPolicyError(f"there is a policy {card.version!r} already: give the new one another version")
    row = {"version": card.version, "state": PolicyState.CANDIDATE, "reason": reason, "share": 0.0, "created_at": now}
    connection.execute(insert(PolicyRow).values(**row, trial=trial, card=files.card, weights=files.weights))
    return card.version


def policies(connection: Connection) -> list[Mapping[str, Any]]:
    """Return all versions without their weights, newest first."""
    rows = connection.execute(select(*_DESCRIPTION).order_by(col(PolicyRow.created_at).desc())).mappings()
    return [dict(row) for row in rows]


def policy(connection: Connection, version: str) -> Mapping[str, Any]:
    """Return one version without its weights.

    Raises:
        UnknownPolicyError: there is none of that name.
    """
    row = connection.execute(select(*_DESCRIPTION).where(col(PolicyRow.version) == version)).mappings().first()
    if row is None:
        raise UnknownPolicyError(f"there is no policy {version!r}: `ladle policy list` shows what there is")
    return dict(row)


def policy_files(connection: Connection, version: str) -> PolicyFiles:
    """Return the files of one version, unchecked.

    Raises:
        UnknownPolicyError: there is none of that name.
    """
    chosen = select(col(PolicyRow.card), col(PolicyRow.weights)).where(col(PolicyRow.version) == version)
    row = connection.execute(chosen).first()
    if row is None:
        raise UnknownPolicyError(f"there is no policy {version!r}: `ladle policy list` shows what there is")
    return PolicyFiles(card=row.card, weights=row.weights)


def serving_policies(connection: Connection) -> dict[str, tuple[str, float]]:
    """Return version and share of the PROMOTED, CANARY and SHADOW policies, by state."""
    chosen = select(col(PolicyRow.state), col(PolicyRow.version), col(PolicyRow.share))
    rows = connection.execute(chosen.where(col(PolicyRow.state).in_(SERVING)))
    return {row.state: (row.version, row.share) for row in rows}


def promoted_policy(connection: Connection) -> str | None:
    """Return the version that is PROMOTED, None if none is."""
    return serving_policies(connection).get(PolicyState.PROMOTED, (None, 0.0))[0]


def promote(connection: Connection, version: str, now: float, reason: str = "") -> None:
    """Make `version` decide; the one before it is RETIRED.

    Raises:
        UnknownPolicyError: there is none of that name, or it is PROMOTED already.
    """
    if policy(connection, version)["state"] == PolicyState.PROMOTED:
        raise UnknownPolicyError(f"policy {version!r} is promoted already")
    _change(connection, promoted_policy(connection), state=PolicyState.RETIRED, retired_at=now)
    _change(connection, version, state=PolicyState.PROMOTED, promoted_at=now, reason=reason, share=0.0)


def rollback(connection: Connection, now: float, reason: str) -> tuple[str, str | None]:
    """Reject the promoted policy and promote again the one before it.

    Returns:
        The version that was rejected, and the one that decides now; None: the policy of the settings.

    Raises:
        UnknownPolicyError: none is promoted.
    """
    rejected = promoted_policy(connection)
    if rejected is None:
        raise UnknownPolicyError("no policy is promoted: the policy of the settings serves already")
    retired = select(col(PolicyRow.version)).where(col(PolicyRow.state) == PolicyState.RETIRED)
    before = connection.scalar(retired.order_by(col(PolicyRow.retired_at).desc()).limit(1))
    _change(connection, rejected, state=PolicyState.REJECTED, retired_at=now, reason=reason)
    _change(connection, before, state=PolicyState.PROMOTED)
    return rejected, before


def try_out(connection: Connection, version: str, state: PolicyState, share: float = 0.0) -> None:
    """Make `version` the SHADOW, or the CANARY with its `share` of the jobs, instead of the present one.

    Raises:
        UnknownPolicyError: there is none of that name, or it is PROMOTED.
    """
    if policy(connection, version)["state"] == PolicyState.PROMOTED:
        raise UnknownPolicyError(f"policy {version!r} is promoted: it decides already")
    stop_trial(connection, state)
    _change(connection, version, state=state, share=share)


def stop_trial(connection: Connection, state: PolicyState) -> None:
    """Make the SHADOW or the CANARY, if there is one, a CANDIDATE."""
    of_state = update(PolicyRow).where(col(PolicyRow.state) == state)
    connection.execute(of_state.values(state=PolicyState.CANDIDATE, share=0.0))


def reject(connection: Connection, version: str, reason: str) -> None:
    """Keep a policy that is not to serve, with the reason.

    Raises:
        UnknownPolicyError: there is none of that name, or it is PROMOTED (roll it back instead).
    """
    if policy(connection, version)["state"] == PolicyState.PROMOTED:
        raise UnknownPolicyError(f"policy {version!r} is promoted: roll it back instead")
    _change(connection, version, state=PolicyState.REJECTED, reason=reason, share=0.0)


def prune_rejected(connection: Connection, kept: int) -> None:
    """Delete the versions that lost at the gate, all but the `kept` newest."""
    lost = select(col(PolicyRow.version)).where(
        col(PolicyRow.state) == PolicyState.REJECTED, col(PolicyRow.promoted_at).is_(None)
    )
    versions = connection.scalars(lost.order_by(col(PolicyRow.created_at).desc())).all()
    connection.execute(delete(PolicyRow).where(col(PolicyRow.version).in_(versions[kept:])))


def _change(connection: Connection, version: str | None, **values: Any) -> None:
    connection.execute(update(PolicyRow).where(col(PolicyRow.version) == version).values(**values))
