"""Tables of nodes and jobs on the terminal."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from planner.cli.tables import ago, node_table, service_delay_s
from rl_agent.placing.estimates import Estimates


def shown(renderable) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_what_a_node_says_of_itself_is_shown_as_it_is():
    row = {
        "name": "attic",
        "state": "UNFIT",
        "report": {"device": "[/d]", "resident": ["[/m]"], "emulated": "[/e]"},
        "reason": "[/r]",
        "drained_until": None,
        "drift": {"[/k]": {"factor": 2, "since": 0.0}},
        "seen_at": 0.0,
    }
    table = shown(node_table([row], Estimates()))
    assert all(f"[/{letter}]" in table for letter in "dmerk")


def test_a_node_is_shown_with_its_running_estimate_and_its_spread_not_with_what_it_measured_at_its_start():
    row = {
        "name": "a",
        "state": "READY",
        "report": {},
        "reason": "",
        "drained_until": None,
        "drift": {},
        "seen_at": 0.0,
    }
    estimates = Estimates()
    estimates.observe_warm_up("a", "tiny", load_s=1.0, s_per_unit=77.0)
    assert "tiny 77 at start" in shown(node_table([row], estimates))
    for seconds in (4.0, 4.5, 5.0, 4.5) * 5:
        estimates.observe_outcome("a", "tiny", units=1.0, generation_s=seconds, load_s=0.0)
    table = shown(node_table([row], estimates))
    assert "tiny 4.5" in table
    assert "± 7%" in table


def test_a_node_is_shown_with_its_free_memory_and_its_adapters():
    abilities = {
        "adapters": {name: {"mib": 1.0} for name in ("sketch", "pixel", "oil", "anime")},
        "loaded_adapters": {"tiny": ["oil"]},
        "memory_mib": 24576.0,
        "memory_free_mib": 9216.0,
    }
    report = {"device": "cuda:0", "resident": ["tiny"], "abilities": abilities}
    row = {
        "name": "a",
        "state": "READY",
        "report": report,
        "reason": "",
        "drained_until": None,
        "drift": {},
        "seen_at": 0.0,
    }
    table = shown(node_table([row], Estimates()))
    assert "cuda:0, 9.0 of 24.0 GiB free" in table
    assert "tiny + oil" in table
    assert "adapters: anime, oil, pixel and 1 more" in table


def test_the_end_of_a_pause_is_shown_for_as_long_as_it_lasts():
    row = {"name": "a", "state": "DRAINING", "report": {}, "reason": "hot", "drift": {}, "seen_at": 0.0}
    paused = {**row, "drained_until": time.time() + 7300.0}
    assert "paused, gets jobs again in 2 h; hot" in shown(node_table([paused], Estimates()))
    assert "paused" not in shown(node_table([{**row, "drained_until": None}], Estimates()))


def test_an_id_is_never_cut_and_the_prompt_gives_way(ladle, planner_world):
    long = "order-" + "7" * 100
    planner_world.submit(long, request={"prompt": "a red heart " * 20})
    planner_world.submit("01890a5d-ac96-774b-bcce-b302099a8057", request={"prompt": "a red\nheart " * 20})
    output = ladle("jobs").output
    assert long in output
    assert len([line for line in output.splitlines() if "WAITING" in line]) == 3  # two jobs and the totals
    assert "a r" in output
    assert "…" in output


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (3 * 86400, "3 d ago")],
)
def test_how_long_ago_it_was_is_said_in_the_largest_unit(monkeypatch, seconds, said):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert ago(1000.0 - seconds) == said


def test_the_service_delay_is_the_sum_of_its_parts_and_only_a_done_job_has_one():
    parts = {"transfer_in_s": 0.5, "waiting_s": 1.0, "load_s": 2.0, "generation_s": 3.0, "transfer_out_s": 0.25}
    assert service_delay_s(parts) == 6.75
    assert service_delay_s(dict.fromkeys(parts)) is None
