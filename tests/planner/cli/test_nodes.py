"""`ladle nodes`, with and without a planner; `ladle drain` of a node that is none."""

from __future__ import annotations

import time

import pytest


@pytest.fixture
def world(planner_world):
    """Two nodes that report now; `clock` is the time of day."""
    planner_world.clock.time_s = time.time()
    planner_world.restart()
    planner_world.up("attic")
    planner_world.up("cellar")
    planner_world.tick()
    return planner_world


def test_while_a_planner_runs_a_node_has_the_state_it_has(ladle, world):
    said = ladle("nodes").output
    assert said.count("READY") == 2
    assert "was READY" not in said
    assert "No planner runs" not in said


def test_once_everything_has_stopped_no_node_is_said_to_be_ready(ladle, world):
    world.clock.time_s = time.time() - 300
    world.report("attic")
    world.tick()
    said = ladle("nodes").output
    assert said.count("was READY") == said.count("READY") == 2
    words = " ".join(said.split())
    assert "No planner runs (the last one was seen 5 min ago), so nobody hears the nodes: start one with" in words


def test_before_the_first_tick_it_is_not_known_when_a_planner_ran(ladle, planner_world):
    planner_world.up("attic")
    assert "No planner runs, so nobody hears the nodes" in " ".join(ladle("nodes").output.split())


def test_a_node_gone_for_long_is_hidden_and_counted(ladle, world):
    world.clock.time_s = time.time() - 7200
    world.report("attic", state="stopped")
    world.clock.time_s = time.time()
    world.tick()
    said = ladle("nodes").output
    assert "attic" not in said
    assert "1 more GONE for more than an hour: `ladle nodes --all` shows them" in said
    shown = ladle("nodes", "--all").output
    assert "attic" in shown
    assert "more than an hour" not in shown


def test_a_node_that_has_just_gone_is_shown(ladle, world):
    world.report("attic", state="stopped")
    assert "GONE" in ladle("nodes").output


def test_a_paused_node_is_shown_with_the_end_of_its_pause(ladle, world):
    world.drain("attic", for_s=7200.0 + 60.0)
    said = " ".join(ladle("nodes").output.replace("│", "").split())
    assert "DRAINING" in said
    world.drain("attic", on=False)
    assert "paused" not in ladle("nodes").output


def test_a_node_is_paused_and_resumed_from_the_terminal(make_site, ladle_of):
    site = make_site()
    ladle = ladle_of(site)
    site.start("attic")
    site.wait_for_node("attic", "READY")
    paused = ladle("pause", "attic", "--for", "2h")
    assert "Asked the planner to pause attic" in paused.output
    site.wait_for_node("attic", "DRAINING")
    assert ladle("resume", "attic").exit_code == 0
    site.wait_for_node("attic", "READY")
    ladle("pause", "attic", "--for", "1s")
    site.wait_for_node("attic", "DRAINING")
    site.wait_for_node("attic", "READY")


@pytest.mark.parametrize("options", [(), ("--for", "2"), ("--for", "0s")])
def test_a_pause_says_for_how_long(ladle, planner_world, options):
    planner_world.up("attic")
    assert ladle("pause", "attic", *options).exit_code == 2


def test_draining_an_unknown_node_fails_and_names_the_known_ones(ladle, planner_world):
    planner_world.up("attic")
    result = ladle("drain", "atic")
    assert result.exit_code == 1
    assert "no node 'atic' has ever reported; known are: attic" in result.output
