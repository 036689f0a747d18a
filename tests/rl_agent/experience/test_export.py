from __future__ import annotations

import numpy as np
import pytest
from sqlmodel import SQLModel

from rl_agent.database import open_database
from rl_agent.experience.decision import Decision, encode
from rl_agent.experience.export import export_parquet
from rl_agent.experience.log import ExperienceRow, insert_experience
from rl_agent.policy.rows import COLUMN

pq = pytest.importorskip("pyarrow.parquet")


def row(number, ingress, decision=None):
    rows = np.full((2, len(COLUMN)), float(number), dtype=np.float32)
    rows[:, COLUMN["eligible"]] = [1.0, 0.0]
    decided = Decision(
        nodes=("a", "b"),
        rows=rows,
        latent_action=np.array([np.nan, np.nan]),
        probabilities=np.array([0.75, 0.25]),
        standard_s=2.0,
    )
    return {
        "job": f"job-{number}",
        "attempt": 1,
        "ingress": ingress,
        "model": "m",
        "units": 1.0,
        "input_mbit": 0.0,
        "output_mbit": 1.0,
        "arrived_at": 1.0,
        "decided_at": 2.0,
        "node": "a",
        "placer": "random",
        "decision": encode(decided) if decision is None else decision,
        "propensity": 0.75,
        "eta_p50_s": 1.0,
        "eta_p90_s": 2.0,
    }


@pytest.fixture
def connection():
    engine = open_database("sqlite://")
    with engine.begin() as connection:
        SQLModel.metadata.tables[ExperienceRow.__tablename__].create(connection)
        yield connection
    engine.dispose()


def test_a_decision_is_written_as_arrays_with_its_columns_named(connection, tmp_path):
    insert_experience(connection, [row(3, "x")])
    assert export_parquet(connection, tmp_path / "log.parquet") == (1, 0)
    table = pq.read_table(tmp_path / "log.parquet")
    [written] = table.to_pylist()
    assert (written["job"], written["node"], written["placer"], written["reward"]) == ("job-3", "a", "random", None)
    assert (written["nodes"], written["eligible"], written["standard_s"]) == (["a", "b"], [True, False], 2.0)
    assert written["probabilities"] == [0.75, 0.25]
    assert len(written["observation"]) == 2 * len(COLUMN)
    assert table.schema.metadata[b"ladle.columns"].decode().split(",") == list(COLUMN)


def test_the_next_observation_is_the_next_row_of_the_same_ingress(connection, tmp_path):
    insert_experience(connection, [row(1, "x"), row(2, "y"), row(3, "x")])
    export_parquet(connection, tmp_path / "log.parquet")
    written = pq.read_table(tmp_path / "log.parquet").to_pylist()
    ids = {one["job"]: one["id"] for one in written}
    assert {one["job"]: one["next_id"] for one in written} == {"job-1": ids["job-3"], "job-2": None, "job-3": None}


def test_what_cannot_be_read_is_counted_and_left_out(connection, tmp_path):
    insert_experience(connection, [row(1, "x"), row(2, "x", decision=b"damaged"), row(3, "x")])
    assert export_parquet(connection, tmp_path / "log.parquet") == (2, 1)
    assert export_parquet(connection, tmp_path / "later.parquet", after=2) == (1, 0)
