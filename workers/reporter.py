"""What a node says about itself while it works: heartbeats to the planner, progress to the job's client.

A thread of its own, so that neither a long image step nor a broker that is away delays the other. Nothing it sends is
needed for correctness; outcomes go another way (`node`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from broker_config.calls import Progress, Report
from broker_config.errors import BrokerUnavailableError
from broker_config.messages import Event, EventKind, JobState, NodeReport
from broker_config.publisher import Post, Sender

logger = logging.getLogger(__name__)

STEP_EVENTS_EVERY_S = 0.1
MAX_UNSENT = 1000  # posts while the broker is slow, 100 s of image steps; what comes after them is dropped


class Reporter(threading.Thread):
    """Sends a report every `interval_s`, and events as they come.

    Args:
        publisher: used by this thread only.
        report: makes the present report.
        interval_s: seconds between two reports.
    """

    def __init__(self, publisher: Sender, report: Callable[[], NodeReport], interval_s: float) -> None:
        super().__init__(name="ladle-reporter", daemon=True)
        self._publisher = publisher
        self._report = report
        self._interval_s = interval_s
        self._events: queue.Queue[Post | None] = queue.Queue(maxsize=MAX_UNSENT)
        self._last_step_event = 0.0
        self._stopping = threading.Event()

    def started(self, client: str, job: str, attempt: int, node: str, image_steps: int) -> None:
        """Tell the client that its job has begun."""
        self._say(
            client,
            Event(
                job=job,
                kind=EventKind.STARTED,
                state=JobState.RUNNING,
                attempt=attempt,
                node=node,
                step=0,
                image_steps=image_steps,
            ),
        )

    def step(
        self,
        client: str,
        job: str,
        attempt: int,
        node: str,
        image_step: int,
        image_steps: int,
        preview: str | None = None,
    ) -> None:
        """Tell the client of an image step: at most one in `STEP_EVENTS_EVERY_S`, the last, and previews."""
        now = time.monotonic()
        is_early = now - self._last_step_event < STEP_EVENTS_EVERY_S
        if is_early and image_step < image_steps and preview is None:
            return
        self._last_step_event = now
        self._say(
            client,
            Event(
                job=job,
                kind=EventKind.STEP,
                state=JobState.RUNNING,
                attempt=attempt,
                node=node,
                step=image_step,
                image_steps=image_steps,
                preview=preview,
            ),
        )

    def report_now(self) -> None:
        """Send a report without waiting for the interval to end."""
        self._put(None)

    def run(self) -> None:
        """Send until stopped."""
        due = 0.0
        while not self._stopping.is_set():
            posts, wants_report = self._gather(max(due - time.monotonic(), 0.0))
            if wants_report or time.monotonic() >= due:
                posts.append(self._heartbeat())
                due = time.monotonic() + self._interval_s
            self._send(posts)

    def stop(self) -> None:
        """Send a last report and end the thread."""
        self._stopping.set()
        self._put(None)
        if self.is_alive():
            self.join(timeout=self._interval_s + 5.0)
            self._send([self._heartbeat()])
        self._publisher.close()

    def _say(self, client: str, event: Event) -> None:
        self._put(Progress(str(event.node), client, event).post())

    def _put(self, post: Post | None) -> None:
        try:
            self._events.put_nowait(post)
        except queue.Full:
            logger.debug("the broker is slow: progress was dropped")

    def _gather(self, wait_s: float) -> tuple[list[Post], bool]:
        """Wait for something to send and return all of it, and whether a report was asked for."""
        posts: list[Post] = []
        wants_report = False
        try:
            item = self._events.get(timeout=wait_s)
            while True:
                if item is None:
                    wants_report = True
                else:
                    posts.append(item)
                item = self._events.get_nowait()
        except queue.Empty:
            return posts, wants_report

    def _heartbeat(self) -> Post:
        return Report(self._report().to_wire()).post()

    def _send(self, posts: list[Post]) -> None:
        try:
            self._publisher.publish(posts)
        except BrokerUnavailableError as exc:
            logger.warning("progress and heartbeats are not heard: %s", exc)
            self._stopping.wait(1.0)
