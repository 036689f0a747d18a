"""`ladle dead` on a ledger alone; with a broker it is in tests/acceptance/test_dead_letters.py."""

from __future__ import annotations

import pytest


@pytest.fixture
def letter(planner_world):
    """The id of an assignment that its node could not take."""
    planner_world.up("a")
    planner_world.submit()
    planner_world.bury(planner_world.node("a").queue.popleft())
    (row,) = planner_world.dead_letters()
    return str(row["id"])


def test_without_letters_it_says_so(ladle, planner_world):
    assert ladle("dead", "list").output == "No dead letters.\n"


def test_a_letter_is_listed_with_its_queue_job_and_reason(ladle, letter):
    (row,) = [line for line in ladle("dead", "list").output.splitlines() if "node.a" in line]
    assert [cell in row for cell in (letter, "job-1", "delivery")] == [True] * 3


def test_a_letter_is_shown_with_its_headers(ladle, letter):
    lines = [line.split() for line in ladle("dead", "show", letter).output.splitlines()]
    assert ["reason", "delivery_limit"] in lines
    assert ["header", "id", "job-1/1"] in lines


def test_a_dropped_letter_is_gone(ladle, letter, planner_world):
    assert ladle("dead", "drop", letter).output == "1 dropped.\n"
    assert planner_world.dead_letters() == []
    assert ladle("dead", "drop", "--all").output == "0 dropped.\n"


@pytest.mark.parametrize("command", ["show", "drop", "requeue"])
def test_a_letter_that_is_not_there_is_named(ladle, letter, command):
    result = ladle("dead", command, "4711")
    assert result.exit_code == 1
    assert "no dead letter 4711: `ladle dead list` shows the newest" in result.output


@pytest.mark.parametrize("options", [(), ("7", "--all")])
def test_either_letters_are_dropped_or_all(ladle, planner_world, options):
    assert ladle("dead", "drop", *options).exit_code == 2
