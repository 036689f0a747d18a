"""Foreign text on the terminal: prompts, reasons, names and paths that somebody else wrote."""

from __future__ import annotations

from rich.text import Text

from broker_config.foreign_text import visible


def plain(text: str, style: str = "") -> Text:
    """Return `text` literally: rich's markup is not interpreted, and control characters are escaped."""
    return Text(visible(text), style)
