"""The planner: handles batches of messages in turns, and places every WAITING job it can at the end of each.

`Planner` keeps the lock, the turn, who is current, and publishing. What a message means is in `intake` (clients),
`recorder` (outcomes) and `watch` (nodes and time); what changes a job is in `book`, who gets a node in `placing`.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from sqlalchemy import Connection

from broker_config.errors import BrokerUnavailableError, LadleError
from broker_config.messages import AttemptKey
from broker_config.publisher import Sender
from broker_config.settings import Settings
from planner.errors import PlacingFailedError
from planner.ledger.ledger import Ledger
from planner.ledger.writing import pipelined
from planner.serving.probation import Probation
from planner.serving.served_policy import ServedPolicy
from planner.state.cluster import Clock
from planner.turns.book import Book
from planner.turns.placing import place_waiting
from planner.turns.turn import Turn
from planner.turns.watchdog import Watchdog
from rl_agent.placing.placer import Placer

logger = logging.getLogger(__name__)

PLACING_PAUSE_S = 5.0
AWAY_S = 5.0  # several ticks: a busy machine may leave one or two out
CATCH_UP_S = 5.0  # enough to read thousands of messages
SILENT_RIVAL_S = 5.0  # several ticks: the current planner may be slow, but is not dead


class Planner:
    """The state of one planner process and the turns that change it.

    Args:
        settings: window, ageing, limits.
        ledger: the truth; migrated by the caller.
        publisher: sends assignments and events.
        placer: the rule that chooses nodes.
        clock: tells the time.
        watchdog: says where a turn stands that takes too long.
        after_commit: are told of every turn when it is committed, before its messages are published.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        publisher: Sender,
        placer: Placer,
        clock: Clock | None = None,
        watchdog: Watchdog | None = None,
        after_commit: Sequence[Callable[[Turn], None]] = (),
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.placer = placer
        self.probation = Probation()
        self.policies = placer if isinstance(placer, ServedPolicy) else None
        self.clock = clock or Clock()
        self.identity = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.book = Book(settings)
        self._publisher = publisher
        self._lock = threading.RLock()
        self._is_current = False
        # Attempts whose messages the broker has, and the ledger does not know it yet: the next turn writes it along, at
        # the latest that of a tick. Should this planner die before, the next one sends them again; workers notice.
        self._sent: set[AttemptKey] = set()
        self._no_placing_before = 0.0
        self._ticked_at = self.clock.now()
        self._judges_from = 0.0
        self._watchdog = watchdog
        self._after_commit = after_commit
        self._rival: tuple[tuple[str, int] | None, float] = (None, 0.0)

    def stands_by(self) -> bool:
        """True while another planner process is current and ticks: this one leaves the clock to it.

        If both ticked, they would take over from each other and re-read the whole ledger every second.
        """
        with self._lock, self.ledger.transaction() as connection:
            pulse = self.ledger.pulse(connection)
        if pulse is None or pulse[0] == self.identity:
            return False
        self._is_current = False
        now = self.clock.now()
        if self._rival[0] != pulse:
            self._rival = pulse, now
        return now - self._rival[1] < SILENT_RIVAL_S

    def since_last_tick_s(self) -> float:
        """Return the seconds since this was last asked, once a tick, or since the planner was made."""
        before_s, self._ticked_at = self._ticked_at, self.clock.now()
        return self._ticked_at - before_s

    def may_judge(self, turn: Turn, since_last_tick_s: float) -> bool:
        """True unless this process did not run a moment ago: then what waits is read before nodes are judged by it.

        A gap between two ticks (SIGSTOP, a laptop's sleep, a VM's snapshot, a very long turn) says nothing about the
        nodes, whose reports and outcomes wait in the queue meanwhile. As a planner that has just started, this one
        gives each of them a whole timeout.
        """
        if since_last_tick_s > AWAY_S:
            logger.warning("did not run for %.0f s: every node has a whole timeout to report", since_last_tick_s)
            self._judges_from = turn.now + CATCH_UP_S
            self.book.cluster.forgive_silence(turn.now, turn.now - since_last_tick_s)
        return turn.now >= self._judges_from

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Open a turn: at its end jobs are placed, all rows are committed, then all messages are published.

        That the broker has the assignments is written with the rows of the next turn: a transaction fewer for each.

        Raises:
            DatabaseUnavailableError: nothing was committed and nothing was published.
            PlacingFailedError: likewise; the same turn taken again places nothing, and so does every other for a while.
        """
        with self._lock, self._watchdog.watch() if self._watchdog else nullcontext():
            try:
                with self.ledger.transaction() as connection:
                    self._become_current(connection)
                    turn = Turn(connection=connection, now=self.clock.now())
                    yield turn
                    self._place(turn)
                    with pipelined(connection):
                        turn.write(self.ledger, self.book.cluster)
                        self.ledger.mark_published(connection, sorted(self._sent - turn.closed))
            except BaseException:
                self._is_current = False  # memory is ahead of the ledger: re-read it
                raise
            self._sent.clear()
            self._tell(turn)
            self._publish(turn)

    def _place(self, turn: Turn) -> None:
        """Place the WAITING jobs; where that fails, leave it for a while: messages are taken all the same."""
        if turn.now < self._no_placing_before:
            return
        try:
            place_waiting(self.book, turn, self.placer, self.policies.beside if self.policies else None)
        except LadleError:
            raise
        except Exception as exc:  # of a placer, or of what an earlier Ladle wrote
            logger.exception("placing failed; it is tried again in %g s", PLACING_PAUSE_S)
            self._no_placing_before = turn.now + PLACING_PAUSE_S
            raise PlacingFailedError(f"{type(exc).__name__}: {exc}") from exc

    @contextmanager
    def between_turns(self, timeout_s: float) -> Iterator[bool | None]:
        """Keep turns out meanwhile, and give whether this planner is the current one, so that `book` may be read.

        None is given where a turn takes longer than `timeout_s`.
        """
        if not self._lock.acquire(timeout=timeout_s):
            yield None
            return
        try:
            yield self._is_current
        finally:
            self._lock.release()

    def publish_outbox(self, turn: Turn) -> None:
        """Send again what an earlier turn committed and may not have been published."""
        for node, attempt in self.book.cluster.attempts():
            job = self.book.jobs.get(attempt.job)
            if job is not None and not attempt.published and not attempt.withdrawn:
                self.book.assign(turn, job, node, attempt)

    # After the commit

    def _tell(self, turn: Turn) -> None:
        for told in self._after_commit:
            try:
                told(turn)
            except Exception:  # its messages must be published all the same
                logger.exception("a turn could not be counted or traced")

    def _publish(self, turn: Turn) -> None:
        posts = [post for _, _, post in turn.assignments]  # after the events: a client hears "placed" before "started"
        try:
            unroutable = {id(post) for post in self._publisher.publish([*turn.posts(), *posts])}
        except BrokerUnavailableError as exc:
            logger.warning("%d assignments stay in the outbox: %s", len(posts), exc)
            return
        sent = [attempt for _, attempt, post in turn.assignments if id(post) not in unroutable]
        for attempt in sent:
            attempt.published = True
        self._sent |= {attempt.key for attempt in sent}
        lost = {node for node, _, post in turn.assignments if id(post) in unroutable}
        if lost:
            self._lose_route(lost)

    def _lose_route(self, names: set[str]) -> None:
        """Mark nodes GONE whose queues do not exist; each stays GONE until it reports again."""
        with self.turn() as turn:
            for name in names:
                self.book.lose_node(turn, self.book.cluster.nodes[name], "its queue does not exist")

    # Memory from the ledger

    def _become_current(self, connection: Connection) -> None:
        """Restore memory from the ledger if another planner process, or a failed turn, came between."""
        if self._is_current and self.ledger.holder(connection) == self.identity:
            return
        self._is_current = False
        self.ledger.take_over(connection, self.identity)
        self.ledger.mark_published(connection, sorted(self._sent))
        if self.policies is not None:
            self.policies.refresh(connection)
        book = self.book
        book.restore(self.ledger, connection, self.clock.now())
        self._is_current = True
        logger.info("planner %s is current: %d open jobs, %d waiting", self.identity, len(book.jobs), len(book.waiting))
