"""A client's two threads: one publishes, one listens. `Client` and `AsyncClient` are thin wrappers.

One pair of threads serves any number of jobs. Events can be lost, so the planner is asked about a job that has been
silent for a while, and about every open job after a reconnect (`planner.reconcile`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kombu.connection import Connection
from kombu.mixins import ConsumerMixin
from pydantic import ValidationError

from broker_config.app import BROKER_HEARTBEAT_S, make_app
from broker_config.broker_errors import broker_error
from broker_config.calls import Cancel, Drain, Reconcile, SetPriority, Submit, Tell
from broker_config.errors import BrokerUnavailableError, LadleError, UnroutableError
from broker_config.messages import PROGRESS_EVENTS, Event, Priority, Submission
from broker_config.publisher import Post, Publisher
from broker_config.rights import Role, owner_of
from broker_config.settings import Settings
from broker_config.topology import PLANNER_QUEUE, client_queue, node_of_progress
from planner.client.previews import without_false_preview

logger = logging.getLogger(__name__)

MAX_SUBMISSIONS_PER_MESSAGE = 100  # about 40 KiB of prompts: one confirmation pays for all of them
MAX_PICTURES_BYTES = 2 * 2**20  # in one message, so that it stays far below `consumer.BODY_LIMIT_BYTES`
ASK_AFTER_SILENCE_S = 20.0
GATEWAY = "http"  # as `LADLE_GATEWAYS` has it by default; where the broker gives the gateway no user
MAX_JOBS_PER_QUESTION = 500  # about 20 KiB of ids; each brings back one event, perhaps with images


_Asked = Submission | Cancel | SetPriority | Reconcile | Drain


@dataclass(frozen=True)
class _Request:
    """Something to send to the planner, and the future that resolves when the broker has it."""

    asked: _Asked
    confirmed: Future[None]


class Session:
    """Talks to the planner through the broker.

    Args:
        settings: where the broker is.
        on_events: called in the listening thread with each batch of events.
        key: API key that a gateway asks for; empty: no gateway's.
    """

    def __init__(self, settings: Settings, on_events: Callable[[list[Event]], None], key: str = "") -> None:
        self.settings = settings
        self.client = client_name(settings.broker, key)
        self._app = make_app("ladle-client", settings, queues=[PLANNER_QUEUE], include=[])
        self._publisher = Publisher(self._app, confirm_timeout_s=settings.confirm_timeout_s)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._listener = _Listener(self, on_events)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._heard: dict[str, float] = {}

    @property
    def is_started(self) -> bool:
        """True when both threads run."""
        return bool(self._threads)

    def start(self) -> None:
        """Connect and start both threads, once.

        Raises:
            BrokerUnavailableError: the broker does not answer.
        """
        with self._lock:
            if self._threads:
                return
            self._declare()
            self._threads = [
                threading.Thread(target=self._send, name="ladle-send", daemon=True),
                threading.Thread(target=self._listener.run, name="ladle-listen", daemon=True),
            ]
            for thread in self._threads:
                thread.start()
        self._listener.listening.wait(self.settings.confirm_timeout_s)

    def close(self) -> None:
        """Stop both threads; what was submitted goes on."""
        with self._lock:
            self._listener.should_stop = True
            self._requests.put(None)
            for thread in self._threads:
                thread.join(timeout=5.0)
            self._threads = []
        self._publisher.close()

    def submit(self, submission: Submission) -> Future[None]:
        """Send a submission; the future resolves when the broker has it durably."""
        confirmed = self._request(submission)
        self._heard[submission.job] = time.monotonic()  # not before: a question must not overtake its submission
        return confirmed

    def cancel(self, job: str) -> Future[None]:
        """Ask the planner to cancel a job."""
        return self._request(Cancel([job]))

    def set_priority(self, job: str, priority: Priority) -> Future[None]:
        """Ask the planner to move a WAITING job to another class; it answers with an event."""
        return self._request(SetPriority(self.client, [job], int(priority)))

    def drain(self, node: str, *, on: bool, for_s: float | None = None) -> Future[None]:
        """Ask the planner to drain a node, for some time perhaps, or to end its drain."""
        return self._request(Drain(node, on, for_s))

    def ask(self, jobs: Sequence[str]) -> list[Future[None]]:
        """Ask the planner where jobs are; it answers with events, now and whenever something happens to them."""
        now = time.monotonic()
        self._heard |= dict.fromkeys(jobs, now)
        chunks = [jobs[start : start + MAX_JOBS_PER_QUESTION] for start in range(0, len(jobs), MAX_JOBS_PER_QUESTION)]
        return [self._request(Reconcile(self.client, list(chunk))) for chunk in chunks]

    def heard(self, job: str, *, is_over: bool) -> None:
        """Note that an event of `job` came; the planner is not asked about a job that is over."""
        if is_over:
            self._heard.pop(job, None)
        else:
            self._heard[job] = time.monotonic()

    def ask_after_silent_jobs(self, silence_s: float = ASK_AFTER_SILENCE_S) -> None:
        """Ask about the open jobs that have been silent for `silence_s`."""
        now = time.monotonic()
        silent = [job for job, heard in list(self._heard.items()) if now - heard >= silence_s]
        self.ask(silent)

    def connection(self) -> Connection:
        """Return a new, unopened connection for listening."""
        connection: Connection = self._app.connection_for_read(heartbeat=BROKER_HEARTBEAT_S)
        return connection

    def _declare(self) -> None:
        """Declare the queue in which submissions wait, whether or not a planner runs."""
        connection = self._app.connection_for_write()
        errors = (*connection.connection_errors, *connection.channel_errors, OSError)
        try:
            with connection:
                connection.ensure_connection(
                    max_retries=1, interval_start=0.1, timeout=5.0, reraise_as_library_errors=False
                )
                with connection.channel() as channel:
                    PLANNER_QUEUE(channel).declare()
        except errors as exc:
            raise broker_error(self.settings.broker, exc) from exc

    def _request(self, asked: _Asked) -> Future[None]:
        confirmed: Future[None] = Future()
        self._requests.put(_Request(asked, confirmed))
        return confirmed

    # The sending thread

    def _send(self) -> None:
        while True:
            requests, is_last = self._gather()
            if requests:
                self._publish(requests)
            if is_last:
                return

    def _gather(self) -> tuple[list[_Request], bool]:
        """Wait for a request; return it with all others that have come, and whether the client is closing."""
        requests = []
        item = self._requests.get()
        while item is not None:
            requests.append(item)
            try:
                item = self._requests.get_nowait()
            except queue.Empty:
                return requests, False
        return requests, True

    def _publish(self, requests: list[_Request]) -> None:
        error: LadleError | None = None
        try:
            unroutable = self._publisher.publish(_posts(requests))
            if unroutable:
                error = UnroutableError(unroutable[0].exchange, unroutable[0].routing_key)
        except BrokerUnavailableError as exc:
            error = exc
        for request in requests:
            if not request.confirmed.set_running_or_notify_cancel():
                continue
            if error is None:
                request.confirmed.set_result(None)
            else:
                request.confirmed.set_exception(error)


def _posts(requests: list[_Request]) -> list[Post]:
    """Return the messages for `requests`: submissions first and in groups, so that nothing overtakes them."""
    asked = [request.asked for request in requests]
    groups = _grouped([one for one in asked if isinstance(one, Submission)])
    posts = [Submit([submission.to_wire() for submission in group]).post() for group in groups]
    cancelled = [job for one in asked if isinstance(one, Cancel) for job in one.jobs]
    if cancelled:
        posts.append(Cancel(cancelled).post())
    return posts + [one.post() for one in asked if isinstance(one, SetPriority | Reconcile | Drain)]


def _grouped(submissions: Sequence[Submission]) -> Iterator[list[Submission]]:
    """Yield the submissions in groups that fit into one message each; starting pictures make a group smaller."""
    group: list[Submission] = []
    size = 0
    for submission in submissions:
        size += len(submission.request.image or "")
        if group and (len(group) == MAX_SUBMISSIONS_PER_MESSAGE or size > MAX_PICTURES_BYTES):
            yield group
            group, size = [], len(submission.request.image or "")
        group.append(submission)
    if group:
        yield group


class _Listener(ConsumerMixin):
    """Receives events, and reconnects whenever the connection is lost.

    Source: https://docs.celeryq.dev/projects/kombu/en/stable/userguide/consumers.html
    """

    def __init__(self, session: Session, on_events: Callable[[list[Event]], None]) -> None:
        self.connection = session.connection()
        self.listening = threading.Event()
        self._session = session
        self._on_events = on_events
        self._connections = 0

    def get_consumers(self, consumer_class: Any, _channel: Any) -> list[Any]:
        """Consume a fresh queue for each connection: the broker may still hold the old one."""
        self._connections += 1
        events = client_queue(self._session.client, self._connections)
        return [consumer_class(queues=[events], callbacks=[self._on_message], no_ack=True, accept=["json"])]

    def on_consume_ready(self, *_: Any, **__: Any) -> None:
        """After a reconnect, ask about all open jobs: their events may have been missed."""
        self.listening.set()
        if self._connections > 1:
            self._session.ask_after_silent_jobs(0.0)

    def on_iteration(self) -> None:
        """Ask about silent jobs."""
        self._session.ask_after_silent_jobs()

    @contextmanager
    def extra_context(self, connection: Connection, _channel: Any) -> Iterator[None]:
        """Drop a broken connection at once, without the closing handshake that kombu would wait for."""
        try:
            yield
        except (*connection.connection_errors, *connection.channel_errors):
            connection.collect()
            raise

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """Log it; kombu tries again."""
        logger.warning("lost the broker (%s); trying again in %.1f s", exc, interval)

    def _on_message(self, body: Any, message: Any) -> None:
        try:
            events = Tell.read(body)
        except (ValidationError, TypeError, KeyError) as exc:
            logger.warning("ignored a malformed event: %s", exc)
            return
        node = node_of_progress(message.delivery_info["routing_key"])
        if node is not None and any(e.node != node or e.kind not in PROGRESS_EVENTS for e in events):
            # A node reports progress of its own jobs; that a job is done, only the planner says.
            logger.warning("ignored events that node %s may not send", node)
            return
        self._on_events([without_false_preview(event) for event in events])


def client_name(broker_url: str, key: str = "") -> str:
    """Return a new name that cannot be guessed and that the user's rights allow to listen (`broker_config.rights`).

    Args:
        broker_url: with its user.
        key: name of the API key that a gateway asks for; empty: no gateway's.
    """
    role, name = owner_of(broker_url) or (None, "")
    user = name if role is Role.CLIENT else GATEWAY if key else ""
    return ".".join(part for part in (user, key, uuid.uuid4().hex) if part)
