"""Log records that nobody can forge: a record is one line, and what belongs to it beyond that is indented.

Reasons, names and error messages come from clients and nodes, and reach the log as arguments, as exceptions, as objects
that print themselves. So they are escaped where all of them enter a record, not where it is logged: whatever logs
(Ladle, Celery, a library), and whichever handler and formatter write it. Leaves out where log lines go: Celery and the
command line decide that.

Source: https://docs.python.org/3/library/logging.html#logging.setLogRecordFactory
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from broker_config.foreign_text import one_line, visible

MAX_LINE_CHARACTERS = 4000  # collectors split lines at 16 KiB, and the rest would pass for a line of its own
INDENT = "  "  # no line of a log begins so: a record begins with its time
_PLAIN = logging.Formatter()


class UnforgeableRecord(logging.LogRecord):
    """A record whose message is one line, however it is formatted; its traceback and stack are indented below it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.exc_info:
            self.exc_text = _indented(_PLAIN.formatException(self.exc_info))  # formatters take it where it is there
        if self.stack_info:
            self.stack_info = _indented(self.stack_info)

    def getMessage(self) -> str:
        """Return the message, escaped."""
        return _cut(super().getMessage(), one_line)


def make_log_unforgeable() -> None:
    """Let every record that this process makes from now on be an `UnforgeableRecord`."""
    logging.setLogRecordFactory(UnforgeableRecord)


def _indented(text: str) -> str:
    return "\n".join(INDENT + _cut(line, visible) for line in text.strip("\n").split("\n"))


def _cut(line: str, escape: Callable[[str], str]) -> str:
    """Escape what is kept of a line only: an error message may have millions of characters."""
    shown = escape(line[:MAX_LINE_CHARACTERS])[:MAX_LINE_CHARACTERS]
    return shown if len(line) <= MAX_LINE_CHARACTERS else f"{shown} ... ({len(line)} characters in all)"
