"""Dead letters: messages that nobody could take, as rows of the ledger, as text for a person, as messages again.

Their content is foreign: control characters are made visible, it is decoded as JSON at most, and never unpickled.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from broker_config.calls import Record, RecordDeadLetter, attempt_in, jobs_named_in
from broker_config.foreign_text import visible
from broker_config.publisher import Post
from broker_config.topology import (
    ADMIN_QUEUE,
    DEAD_QUEUE,
    DEAD_REQUEST,
    JOBS,
    NODES,
    OUTCOMES,
    OUTCOMES_QUEUE,
    PLANNER_QUEUE,
    node_key,
)
from planner.errors import DeadLetterError
from planner.ledger.ledger import LedgerRow

BROKERS_OWN_HEADERS = "x-"  # prefix of what a broker adds: deaths and delivery counts
SHOWN_CHARACTERS = 20_000  # some screens; the whole body is in the ledger
_EXCHANGES = {PLANNER_QUEUE.name: JOBS.name, OUTCOMES_QUEUE.name: OUTCOMES.name}


def letter_row(letter: RecordDeadLetter, now: float) -> dict[str, Any]:
    """Return the ledger's row of a dead letter that came `now`."""
    names = ("reason", "queue", "routing_key", "content_type", "content_encoding")
    return {
        "received_at": now,
        **{name: visible(getattr(letter, name)) for name in names},  # PostgreSQL takes no NUL
        "headers": dict(letter.headers),
        "body": letter.body,
        "body_bytes": letter.body_bytes,
    }


def letter_of_outcome(outcome: Mapping[str, Any], reason: str) -> RecordDeadLetter:
    """Return the dead letter of one outcome out of a batch: the call that would have carried it alone."""
    call = Record(outcome).wire()
    body = json.dumps([[], call, {}]).encode()
    return RecordDeadLetter(
        reason=reason,
        queue=OUTCOMES_QUEUE.name,
        routing_key=Record.key_of(call) or "",
        headers={"task": Record.TASK, "id": f"outcome of {outcome.get('job')}"},
        content_type="application/json",
        content_encoding="utf-8",
        body=base64.b64encode(body).decode(),
        body_bytes=len(body),
    )


def queue_of(row: LedgerRow) -> str:
    """Return the queue that a letter was in before it was dead-lettered, as far as its routing key tells."""
    if row["queue"] != DEAD_QUEUE.name:
        return str(row["queue"])
    key = row["routing_key"] or ""
    if key.startswith(node_key("")):
        return str(key)
    firsts = {
        "outcome": OUTCOMES_QUEUE.name,
        "admin": ADMIN_QUEUE.name,
        "dead": DEAD_QUEUE.name,
        "": DEAD_QUEUE.name,
    }
    return firsts.get(key.split(".")[0], PLANNER_QUEUE.name)


def body_of(row: LedgerRow) -> bytes:
    """Return what was kept of the body."""
    try:
        return base64.b64decode(row["body"], validate=True)
    except (binascii.Error, ValueError):  # an older Ladle kept some as text
        return str(row["body"]).encode()


def body_text(row: LedgerRow) -> str:
    """Return the body for the terminal: text where it is text, else as Python writes bytes; cut where it is long."""
    body = body_of(row)
    try:
        text = visible(body.decode())
    except UnicodeDecodeError:
        text = repr(body)
    is_cut = row["body_bytes"] > len(body) or len(text) > SHOWN_CHARACTERS
    return text[:SHOWN_CHARACTERS] + (f" ... ({row['body_bytes']} bytes in all)" if is_cut else "")


def jobs_of(row: LedgerRow) -> list[str]:
    """Return the jobs that a letter names."""
    job, _ = attempt_in(row["headers"])
    if job:
        return [job]
    try:
        _args, call, _embed = json.loads(body_of(row))
        return [visible(named) for named in jobs_named_in(call)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _first_key_of(row: LedgerRow) -> str | None:
    """Return the key under which a letter was published first; a person may trust it, the planner checks it again."""
    key: str | None = row["routing_key"]
    if key != DEAD_REQUEST:
        return key
    try:
        return str(row["headers"]["x-death"][0]["routing-keys"][0])
    except (LookupError, TypeError):
        return None


def post_of(row: LedgerRow) -> Post:
    """Return the message that a letter was, for the queue it came from.

    The exchange follows from that queue, and a node's letter goes to that node only, whatever was written into it.

    Raises:
        DeadLetterError: the ledger has not all of it.
    """
    queue, key, body = queue_of(row), _first_key_of(row), body_of(row)
    if key is None:
        raise DeadLetterError(row["id"], "its routing key is not known")
    if len(body) < row["body_bytes"] or set(row["headers"]) == {"cut"}:
        raise DeadLetterError(row["id"], f"of its {row['body_bytes']} bytes only the beginning was kept")
    is_nodes = queue.startswith(node_key(""))
    if not is_nodes and queue not in _EXCHANGES:
        raise DeadLetterError(row["id"], f"it came from queue {visible(queue)!r}, which takes no jobs or outcomes")
    return Post(
        exchange=NODES.name if is_nodes else _EXCHANGES[queue],
        routing_key=queue if is_nodes else key,
        body=body,
        headers={name: value for name, value in row["headers"].items() if not name.startswith(BROKERS_OWN_HEADERS)},
        content_type=(row["content_type"], row["content_encoding"]),
        mandatory=True,
    )
