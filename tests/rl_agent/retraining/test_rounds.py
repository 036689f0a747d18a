from __future__ import annotations

import pytest
from logged_site import write_log

from rl_agent.database import open_database
from rl_agent.retraining.rounds import (
    KEPT,
    RoundResult,
    begin_round,
    last_read,
    new_outcomes,
    note_round,
    processor_s_since,
    rounds_since,
)


@pytest.fixture
def connection(tmp_path, simple_log):
    """A ledger with 120 finished jobs."""
    url = f"sqlite:///{tmp_path / 'ladle.db'}"
    write_log(url, simple_log)
    engine = open_database(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def end(connection, number, result, **values):
    note_round(connection, number, 100.0, result=result, **values)


def test_what_a_round_has_read_to_the_end_is_new_no_more(connection):
    assert new_outcomes(connection) == 120
    number = begin_round(connection, 1.0, last_id=50, outcomes=50)
    assert (last_read(connection), new_outcomes(connection)) == (0, 120)  # it may be killed yet
    end(connection, number, RoundResult.CUT_SHORT)
    assert (last_read(connection), new_outcomes(connection)) == (0, 120)
    end(connection, number, RoundResult.ENDED)
    assert (last_read(connection), new_outcomes(connection)) == (50, 70)


def test_rounds_that_were_killed_count_with_what_they_had_noted(connection):
    for began_at, processor_s in ((0.0, 5.0), (100.0, 7.0)):
        number = begin_round(connection, began_at, last_id=1, outcomes=1)
        note_round(connection, number, began_at + 50.0, wall_s=40.0, processor_s=processor_s)
    assert processor_s_since(connection, 0.0) == 12.0
    assert processor_s_since(connection, 60.0) == 7.0
    assert processor_s_since(connection, 160.0) == 0.0
    assert [row["result"] for row in rounds_since(connection, 0.0)] == [RoundResult.BEGUN] * 2


def test_the_newest_are_kept(connection):
    for _ in range(KEPT + 3):
        begin_round(connection, 1.0, last_id=1, outcomes=1)
    assert len(rounds_since(connection, 0.0)) == KEPT
