from __future__ import annotations

from rich.console import Console

from broker_config.messages import Event, EventKind
from planner.cli.submit import describe
from planner.cli.terminal import plain


def shown(renderable) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_markup_and_control_characters_are_shown_not_obeyed():
    assert shown(plain("[/b][red]x\x1b[2J", "yellow")) == "[/b][red]x\\x1b[2J\n"


def test_what_an_event_says_is_plain_text():
    event = Event(job="j", kind=EventKind.WAITING, reason="internal on a: [/b]")
    assert describe(event) == "waiting again: internal on a: [/b]"
