"""Says in the log where a piece of work stands that takes longer than it ever should."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Watchdog:
    """Watches one piece of work at a time, over and over, from a thread of its own that starts with the first.

    Args:
        what: is watched, for the log.
        budget_s: seconds after which it is logged where the work stands, and again each time so much more has passed.
    """

    def __init__(self, what: str, budget_s: float) -> None:
        self._what = what
        self._budget_s = budget_s
        self._running: tuple[int, float] | None = None  # thread, and when it began
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch what the calling thread does in this block; a block within another belongs to it."""
        if self._running is not None:
            yield
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="ladle-watchdog", daemon=True)
            self._thread.start()
        self._running = threading.get_ident(), time.monotonic()
        try:
            yield
        finally:
            self._running = None

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _look(self) -> None:
        said: tuple[float, int] | None = None
        while not self._ended.wait(min(LOOK_EVERY_S, self._budget_s)):
            running = self._running
            if running is None:
                continue
            thread, began = running
            times = int((time.monotonic() - began) / self._budget_s)
            if times and (began, times) != said:
                said = began, times
                frame = sys._current_frames().get(thread)
                stack = "".join(traceback.format_stack(frame)) if frame else "(its thread has ended)"
                self._say(times * self._budget_s, stack)

    def _say(self, taken_s: float, stack: str) -> None:
        """Log it as `logger.error(..., stack_info=True)` does, which knows no stack but its own thread's."""
        message, values = "%s has taken %g s so far; it stands here:", (self._what, taken_s)
        logger.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message, values, None, sinfo=stack))
