"""Text of others on the terminal."""

from __future__ import annotations

import pytest

from broker_config.foreign_text import one_line, visible


@pytest.mark.parametrize("text", ["a red heart", "two\nlines", "Zwölf Boxkämpfer ✓ \U0001f3a8", ""])
def test_what_can_be_printed_stays_as_it_is(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),  # clears the screen
        ("a\rb\tc\x00", "a\\rb\\tc\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # turns the direction of writing round
        ("\x85\u2028\x0b\x0c", "\\x85\\u2028\\x0b\\x0c"),  # begin new lines for some programs
        ("\ud800", "\\ud800"),  # cannot be encoded
    ],
)
def test_what_a_terminal_would_obey_is_spelt_out(text, shown):
    assert visible(text) == one_line(text) == shown


def test_what_must_be_one_line_is_one():
    assert one_line("two\nlines\n") == "two\\nlines"
