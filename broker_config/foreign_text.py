"""Text that somebody else wrote, made harmless for a terminal and for a log. What is rich's own is in `planner.cli`."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return foreign text with every control character escaped, so that a terminal shows and does not execute it."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return foreign text as `visible` does, line breaks escaped as well."""
    return visible(text.strip("\n")).replace("\n", "\\n")
