"""`ladle drain` of a node that is none."""

from __future__ import annotations


def test_draining_an_unknown_node_fails_and_names_the_known_ones(ladle, planner_world):
    planner_world.up("attic")
    result = ladle("drain", "atic")
    assert result.exit_code == 1
    assert "no node 'atic' has ever reported; known are: attic" in result.output
