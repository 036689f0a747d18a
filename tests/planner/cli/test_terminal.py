from __future__ import annotations

from rich.console import Console

from broker_config.messages import Event, EventKind
from planner.cli.submit import describe
from planner.cli.tables import node_table
from planner.cli.terminal import plain


def shown(renderable) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_markup_and_control_characters_are_shown_not_obeyed():
    assert shown(plain("[/b][red]x\x1b[2J", "yellow")) == "[/b][red]x\\x1b[2J\n"


def test_what_a_node_says_of_itself_is_shown_as_it_is():
    row = {
        "name": "attic",
        "state": "UNFIT",
        "report": {"device": "[/d]", "resident": ["[/m]"], "emulated": "[/e]"},
        "reason": "[/r]",
        "drift": {"[/k]": {"factor": 2, "since": 0.0}},
        "seen_at": 0.0,
    }
    table = shown(node_table([row]))
    assert all(f"[/{letter}]" in table for letter in "dmerk")


def test_what_an_event_says_is_plain_text():
    event = Event(job="j", kind=EventKind.WAITING, reason="internal on a: [/b]")
    assert describe(event) == "waiting again: internal on a: [/b]"
