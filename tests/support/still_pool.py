"""A Celery pool whose tasks run when a test says so."""

from __future__ import annotations


class StillPool:
    """A pool that works when told to."""

    def __init__(self):
        self.waiting = []

    def apply_async(self, function):
        self.waiting.append(function)

    def work(self):
        while self.waiting:
            self.waiting.pop(0)()
