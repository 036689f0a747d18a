"""What a soak does beside its load, every so often, until the load is over."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Watch(ABC):
    """A thread that looks again and again, from the start of a block to its end.

    Args:
        name: of the thread.
        every_s: seconds between two looks.
    """

    def __init__(self, name: str, every_s: float) -> None:
        self._look_every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @abstractmethod
    def look(self) -> None:
        """Do what is to be done now."""

    def _run(self) -> None:
        while not self._is_over.wait(self._look_every_s):
            self.look()
