"""`ladle experience`: what is logged, and its export."""

from __future__ import annotations

import pytest

from rl_agent.policy.rows import COLUMN


def test_an_empty_log_is_counted_too(ladle, planner_world):
    assert "0 decisions, 0 with a reward" in ladle("experience", "count").output


def test_the_log_is_exported_with_the_next_decision_of_the_ingress(ladle, planner_world, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    planner_world.up("a")
    for number, ingress in enumerate(("x", "y", "x")):
        planner_world.submit(f"job-{number}", ingress=ingress)
        planner_world.draw("a")
    assert "3 decisions, 3 with a reward" in ladle("experience", "count").output
    out = tmp_path / "log.parquet"
    assert ladle("experience", "export", "--out", str(out)).exit_code == 0
    table = pq.read_table(out)
    assert table["next_id"].to_pylist() == [table["id"][2].as_py(), None, None]
    assert len(table["observation"][0]) == len(COLUMN)
    assert table.schema.metadata[b"ladle.columns"].decode().split(",") == list(COLUMN)
