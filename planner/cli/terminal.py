"""Foreign text on the terminal: prompts, reasons, names and paths that somebody else wrote."""

from __future__ import annotations

from rich.text import Text

from planner.foreign_text import visible


def plain(text: str, style: str = "") -> Text:
    """Return `text` as it is: neither rich's markup in it nor a control character for the terminal is obeyed."""
    return Text(visible(text), style)
