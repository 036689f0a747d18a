"""Frees a node's memory when it has had no job for a while: its GPU is its owner's, too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class IdleUnload:
    """Calls `unload` once nothing has been `busy` for `after_s` seconds, and never while something is.

    Args:
        after_s: 0: never.
        unload: frees the memory; called in a thread of its own.
    """

    def __init__(self, after_s: float, unload: Callable[[], None]) -> None:
        self._after_s = after_s
        self._unload = unload
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_closed = False
        self._wait()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the memory as it is meanwhile; a call that comes while it is freed waits for that."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            try:
                yield
            finally:
                self._wait()

    def close(self) -> None:
        """Free nothing any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._after_s and not self._is_closed:
            self._timer = threading.Timer(self._after_s, self._free)
            self._timer.daemon = True
            self._timer.start()

    def _free(self) -> None:
        timer = threading.current_thread()
        with self._lock:
            if timer is not self._timer or self._is_closed:
                return  # a job came meanwhile
            logger.info("no job for %g s (LADLE_IDLE_UNLOAD_S): the models leave memory", self._after_s)
            try:
                self._unload()
            except Exception:  # of a driver, say: the next job will tell
                logger.exception("the memory could not be freed")
