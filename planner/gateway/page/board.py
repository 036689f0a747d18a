"""The ledger as the page shows it, read once a second for all who look. What each of them may see of it is `views`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from planner.errors import DatabaseUnavailableError
from planner.ledger import board_data
from planner.ledger.ledger import Ledger, LedgerRow
from rl_agent.placing.estimates import Estimates
from rl_agent.policy.registry import PolicyState, policies

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
SLOW_LOOK_EVERY_S = 5.0  # at what changes seldom: policies and dead letters
PATIENCE = 10.0  # the ledger is read for a tenth of the time at most, however long that takes
TIMELINE_S = 600.0
OVERLAP_S = 5.0  # a turn of the planner commits what it closed a moment ago
MAX_ATTEMPTS = 2000  # of the timeline: more bars are narrower than a pixel
MAX_PLACES = 1000  # who is further behind is told how many wait
MAX_LISTED = 60  # jobs in a list: more than anybody reads
MAX_FACTS = 10_000  # of jobs; each is some 500 bytes
MAX_LETTERS = 20  # dead letters in a list; `ladle dead list` shows more
NO_LEDGER = "This gateway has no ledger in reach: it needs the planner's LADLE_DATABASE_URL to show this."


@dataclass(frozen=True, kw_only=True)
class PolicyBoard:
    """The versions of the policy, newest first, and the delays around the last promotion."""

    versions: Sequence[Mapping[str, Any]] = ()
    before: board_data.DelaySide | None = None
    since: board_data.DelaySide | None = None


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the ledger says.

    Attributes:
        lack: why it says nothing; empty if it does.
        at: Unix seconds.
        ticked_at: when a planner last ticked.
        counts: open jobs by state.
        places: of the first `MAX_PLACES` WAITING jobs by class and age, from 1.
        held: attempts that nodes hold. closed: those of the last `TIMELINE_S`, by job and number.
        letters: the newest dead letters, out of `letter_count`.
    """

    lack: str = ""
    at: float = 0.0
    ticked_at: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    nodes: Sequence[LedgerRow] = ()
    estimates: Estimates = field(default_factory=Estimates)
    held: Sequence[LedgerRow] = ()
    closed: Mapping[tuple[str, int], LedgerRow] = field(default_factory=dict)
    policy: PolicyBoard = PolicyBoard()
    letters: Sequence[LedgerRow] = ()
    letter_count: int = 0


@dataclass(frozen=True, kw_only=True)
class OwnJobs:
    """Open jobs as one person may see them: their own, and for operators the first of the others."""

    counts: Mapping[str, int] = field(default_factory=dict)
    mine: Sequence[LedgerRow] = ()
    others: Sequence[LedgerRow] = ()


class BoardReader:
    """Reads a `Board` when somebody looks and the last one is old.

    Args:
        ledger: that is perhaps not in reach.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.facts: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._board = Board(lack=NO_LEDGER)
        self._fresh_until = 0.0
        self._slow_until = 0.0
        self._lock = asyncio.Lock()
        self._has_tables = False

    async def look(self) -> Board:
        """Return the board, at most about a second old."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                began = time.monotonic()
                self._board = await asyncio.to_thread(self._read)
                took_s = time.monotonic() - began
                self._fresh_until = began + max(LOOK_EVERY_S, PATIENCE * took_s)
        return self._board

    async def jobs_of(self, id_prefix: str, *, sees_others: bool) -> OwnJobs:
        """Return the open jobs whose ids begin so, and the first of the others for who may see them."""
        return await asyncio.to_thread(self._jobs_of, id_prefix, sees_others)

    def _jobs_of(self, id_prefix: str, sees_others: bool) -> OwnJobs:
        try:
            with self.ledger.transaction(reads=True) as connection:
                mine = board_data.open_jobs(connection, MAX_LISTED, id_prefix)
                others = board_data.open_jobs(connection, MAX_LISTED, but=id_prefix) if sees_others else []
                self._learn(connection, [row["id"] for row in (*mine, *others)])
                return OwnJobs(counts=board_data.open_counts(connection, id_prefix), mine=mine, others=others)
        except DatabaseUnavailableError:
            return OwnJobs()  # the board says it

    def _read(self) -> Board:
        try:
            if not (self._has_tables or self.ledger.has_tables()):
                return Board(lack=NO_LEDGER)
            self._has_tables = True
            with self.ledger.transaction(reads=True) as connection:
                return self._read_all(connection)
        except DatabaseUnavailableError as exc:
            logger.warning("the page shows nothing of the ledger: %s", exc)
            return Board(lack="The ledger does not answer at the moment.", at=time.time())

    def _read_all(self, connection: Connection) -> Board:
        at = time.time()
        held = board_data.open_attempts(connection, MAX_ATTEMPTS)
        closed = self._closed(connection, at)
        self._learn(connection, [row["job"] for row in (*held, *closed.values())])
        slow = self._read_slow(connection)
        return Board(
            at=at,
            ticked_at=self.ledger.last_tick(connection),
            counts=board_data.open_counts(connection),
            places={job: place for place, job in enumerate(board_data.waiting_by_age(connection, MAX_PLACES), 1)},
            nodes=self.ledger.nodes(connection),
            estimates=self.ledger.estimates(connection),
            held=held,
            closed=closed,
            **slow,
        )

    def _closed(self, connection: Connection, at: float) -> dict[tuple[str, int], LedgerRow]:
        """Return the attempts of the timeline; only those are read that were closed since the last look."""
        known = self._board.closed
        newest = max((row["closed_at"] for row in known.values()), default=at - TIMELINE_S)
        since = max(newest - OVERLAP_S, at - TIMELINE_S)
        fresh = board_data.closed_attempts(connection, since, MAX_ATTEMPTS)
        rows = {**known, **{(row["job"], row["number"]): row for row in reversed(fresh)}}
        kept = [(key, row) for key, row in rows.items() if row["closed_at"] >= at - TIMELINE_S]
        return dict(kept[-MAX_ATTEMPTS:])

    def _read_slow(self, connection: Connection) -> dict[str, Any]:
        if time.monotonic() < self._slow_until:
            before = self._board
            return {"policy": before.policy, "letters": before.letters, "letter_count": before.letter_count}
        self._slow_until = time.monotonic() + SLOW_LOOK_EVERY_S
        return {
            "policy": _policy(connection),
            "letters": self.ledger.newest_dead_letters(connection, MAX_LETTERS),
            "letter_count": self.ledger.count_dead_letters(connection),
        }

    def look_again(self) -> None:
        """Let the next look read everything: something was just changed."""
        self._fresh_until = self._slow_until = 0.0

    def _learn(self, connection: Connection, jobs: Sequence[str]) -> None:
        unknown = [job for job in dict.fromkeys(jobs) if job not in self.facts]
        if unknown:
            self.facts.update(board_data.job_facts(connection, unknown))
        while len(self.facts) > MAX_FACTS:
            self.facts.popitem(last=False)


def _policy(connection: Connection) -> PolicyBoard:
    versions = policies(connection)
    serving = next((row for row in versions if row["state"] == PolicyState.PROMOTED), None)
    if serving is None or serving["promoted_at"] is None:
        return PolicyBoard(versions=versions)
    before, since = board_data.delays_around(connection, serving["version"], serving["promoted_at"])
    return PolicyBoard(versions=versions, before=before, since=since)
