"""Durations as they are typed."""

from __future__ import annotations

import click
import pytest

from planner.cli.duration import Duration


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)])
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "10", "0h", "-1h", "2h30m", "9" * 400 + "s", "nan s", "infh"])
def test_anything_else_is_refused_with_examples(text):
    with pytest.raises(click.BadParameter, match="is no duration such as 90s, 10m or 2h"):
        Duration().convert(text, None, None)
