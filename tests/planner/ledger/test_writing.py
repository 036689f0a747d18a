"""Rows written in few round trips, on each database."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from planner.ledger.calibrations import read_calibrations
from planner.ledger.tables import CalibrationRow
from planner.ledger.writing import pipelined, upsert

ROW = {"stage": "placed", "scores": [0.5], "p50_level": 0.4, "p90_level": 0.8}


def read(ledger):
    with ledger.transaction() as connection:
        return connection.execute(select(CalibrationRow)).mappings().all()


def test_rows_are_inserted_or_replaced(ledger):
    with ledger.transaction() as connection:
        upsert(connection, CalibrationRow, ("stage",), [ROW])
        upsert(connection, CalibrationRow, ("stage",), [{**ROW, "scores": [0.25]}, {**ROW, "stage": "accepted"}])
        upsert(connection, CalibrationRow, ("stage",), [])
    assert {row["stage"]: row["scores"] for row in read(ledger)} == {"placed": [0.25], "accepted": [0.5]}


def test_what_a_pipeline_wrote_is_there_in_the_same_transaction_and_later(ledger):
    with ledger.transaction() as connection:
        with pipelined(connection):
            upsert(connection, CalibrationRow, ("stage",), [ROW])
            upsert(connection, CalibrationRow, ("stage",), [{**ROW, "p90_level": 0.75}])
        assert [found.levels for found in read_calibrations(connection).values() if found.scores] == [[0.4, 0.75]]
    assert len(read(ledger)) == 1


def write_two(ledger, second):
    with ledger.transaction() as connection, pipelined(connection):
        upsert(connection, CalibrationRow, ("stage",), [ROW])
        upsert(connection, CalibrationRow, ("stage",), [second])


def test_an_error_of_a_statement_is_that_of_the_pipeline_and_nothing_of_the_transaction_stays(ledger):
    with pytest.raises(IntegrityError):
        write_two(ledger, {**ROW, "stage": "accepted", "p50_level": None})
    assert read(ledger) == []
