from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from rl_agent.database import open_database
from rl_agent.experience.log import (
    PRUNED_AT_ONCE,
    ExperienceRow,
    count_experience,
    finish_experience,
    insert_experience,
    prune_experience,
    read_experience,
)


def row(number, **columns):
    return {
        "job": f"job-{number}",
        "attempt": 1,
        "ingress": "a",
        "model": "m",
        "units": 1.0,
        "input_mbit": 0.0,
        "output_mbit": 1.0,
        "arrived_at": float(number),
        "decided_at": float(number) + 0.5,
        "node": "a",
        "placer": "random",
        "policy_version": None,
        "decision": b"",
        "propensity": 0.5,
        "foretold_s": 2.0,
        "eta_p50_s": 1.0,
        "eta_p90_s": 2.0,
        "resident_limit": 1,
        **columns,
    }


@pytest.fixture
def connection(database_url):
    engine = open_database(database_url)
    with engine.begin() as connection:
        SQLModel.metadata.tables[ExperienceRow.__tablename__].create(connection)
        yield connection
    engine.dispose()


def test_an_outcome_fills_in_its_own_row_only(connection):
    insert_experience(connection, [row(1), row(2)])
    finish_experience(connection, [{"of_job": "job-2", "of_number": 1, "result": "done", "reward": -3.0}])
    finish_experience(connection, [{"of_job": "job-2", "of_number": 7, "result": "done", "reward": -9.0}])
    assert [found["reward"] for found in read_experience(connection)] == [None, -3.0]
    assert count_experience(connection) == (2, 1)


def test_an_attempt_is_logged_once(connection):
    insert_experience(connection, [row(1)])
    with pytest.raises(IntegrityError):
        insert_experience(connection, [row(1)])


def test_reading_begins_after_an_id_or_at_the_newest_rows(connection):
    insert_experience(connection, [row(n) for n in range(10)])
    ids = [found["id"] for found in read_experience(connection)]
    assert [found["job"] for found in read_experience(connection, after=ids[6])] == ["job-7", "job-8", "job-9"]
    assert [found["job"] for found in read_experience(connection, newest=2)] == ["job-8", "job-9"]


def test_the_oldest_rows_go_a_batch_at_a_time(connection):
    insert_experience(connection, [row(n) for n in range(PRUNED_AT_ONCE + 500)])
    assert prune_experience(connection, kept=100) == PRUNED_AT_ONCE
    assert prune_experience(connection, kept=100) == 400
    assert prune_experience(connection, kept=100) == 0
    assert [found["job"] for found in read_experience(connection)][-1] == f"job-{PRUNED_AT_ONCE + 499}"


def test_an_empty_log_has_nothing_to_prune(connection):
    assert prune_experience(connection, kept=0) == 0
