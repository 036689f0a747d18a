"""What `ladle bench` prints of its measurements, and what it refuses before it starts anything."""

from __future__ import annotations

import sys

import pytest
from rich.console import Console

from planner.cli.bench.command import MAX_NODES_SHOWN, RIVAL, _share_table, _table
from planner.cli.bench.load import EmulatedNode
from planner.cli.bench.run import Measured

FLEET = [EmulatedNode(name=name, s_per_step=s) for name, s in (("fast", 0.1), ("slow", 0.5))]
MEASURED = {
    RIVAL: [Measured(delay_s=s, end_s=10.0, node="slow") for s in (2.0, 6.0)],
    "random": [Measured(delay_s=1.0, end_s=7.0, node=node) for node in ("fast", "slow", "fast", "fast")],
}


def shown(table):
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in capture.get().splitlines() if "│" in line]


def test_the_table_has_the_least_mean_first_and_each_beside_the_shared_queue():
    assert [row[:3] for row in shown(_table(MEASURED, "title"))] == [
        ["random", "1.00", "0.250"],
        [RIVAL, "4.00", "1.000"],
    ]


def test_without_the_shared_queue_there_is_nothing_to_compare_with():
    assert shown(_table({"random": MEASURED["random"]}, "title"))[0][2] == ""


def test_the_shares_are_of_the_jobs_by_node():
    assert shown(_share_table(MEASURED, FLEET)) == [[RIVAL, "0%", "100%"], ["random", "75%", "25%"]]


def test_of_a_large_fleet_only_the_first_nodes_are_shown():
    large = [EmulatedNode(name=f"n{k}", s_per_step=0.1) for k in range(MAX_NODES_SHOWN + 5)]
    assert len(shown(_share_table(MEASURED, large))[0]) == 1 + MAX_NODES_SHOWN


@pytest.mark.parametrize("name", ["no_such_placers:Own", "json:Own"])
def test_a_placer_that_cannot_be_imported_is_refused_before_anything_starts(ladle, name):
    result = ladle("bench", "--placer", "shared-queue", "--placer", name)
    assert result.exit_code == 1
    assert f"LADLE_PLACER: cannot import '{name}'" in " ".join(result.output.split())
    assert "no_such_placers" not in sys.modules
