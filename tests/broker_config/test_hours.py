"""Hours of the day in which a node draws."""

from __future__ import annotations

from datetime import datetime

import pytest

from broker_config.hours import Hours, parse_hours


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-27T{clock}")


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [
        ("09:00-17:30", ["09:00", "12:00", "17:29:59"], ["08:59:59", "17:30", "00:00"]),
        ("22:00-08:00", ["22:00", "23:59", "00:00", "07:59"], ["08:00", "12:00", "21:59"]),
        ("22:00-06:00, 12:00-13:00", ["12:30", "23:00", "05:59"], ["06:00", "13:00"]),
        ("18:00-00:00", ["18:00", "23:59:59"], ["00:00", "17:59"]),
        ("", ["00:00", "12:00"], []),
    ],
)
def test_a_node_draws_in_its_hours_only(hours, open_at, closed_at):
    parsed = parse_hours(hours)
    assert [parsed.are_open(at(clock)) for clock in (*open_at, *closed_at)] == [True] * len(open_at) + [False] * len(
        closed_at
    )


@pytest.mark.parametrize(
    ("hours", "clock", "left_s"),
    [
        ("22:00-08:00", "22:00", 10 * 3600.0),
        ("22:00-08:00", "07:59:30", 30.0),
        ("22:00-08:00", "12:00", None),
        ("09:00-10:00,10:00-11:00", "09:30", 1.5 * 3600.0),
        ("09:00-12:00,10:00-11:00", "10:30", 1.5 * 3600.0),
        ("", "12:00", None),
    ],
)
def test_it_is_known_how_long_they_last(hours, clock, left_s):
    assert parse_hours(hours).left_s(at(clock)) == left_s


def test_spans_that_fill_the_day_never_close():
    hours = parse_hours("00:00-12:00,12:00-00:00")
    assert all(hours.are_open(at(f"{hour:02}:30")) for hour in range(24))
    assert hours.left_s(at("11:59")) > 3600.0


@pytest.mark.parametrize(
    "text", ["22-08", "24:00-08:00", "22:00", "22:60-08:00", "08:00-08:00", "22:00-08:00;", "x", "1:00-2:00"]
)
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ValueError, match=r"no span of a day such as 22:00-08:00|is empty"):
        parse_hours(text)


def test_empty_parts_are_passed_over():
    assert parse_hours(" , ") == Hours()
