"""Calibrations in the ledger: what one planner learned, the next one knows."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from planner.calibration import SHARES, Calibration, Stage
from planner.ledger.calibrations import read_calibrations, save_calibrations


def test_what_is_saved_is_read_again_and_a_stage_without_a_row_is_new(ledger):
    with ledger.transaction() as connection:
        save_calibrations(connection, {})
        save_calibrations(connection, {Stage.PLACED: Calibration([0.5], [0.4, 0.8])})
        save_calibrations(connection, {Stage.PLACED: Calibration([0.25, -1.0], [0.45, 0.85])})
        found = read_calibrations(connection)
    assert list(found[Stage.PLACED].scores) == [0.25, -1.0]
    assert found[Stage.PLACED].levels == [0.45, 0.85]
    assert (list(found[Stage.ACCEPTED].scores), found[Stage.ACCEPTED].levels) == ([], list(SHARES))


@pytest.mark.parametrize("change", ["scores = '[1e300]'", "scores = '{}'", "p50_level = 7.0", "scores = '[\"x\"]'"])
def test_an_implausible_row_is_forgotten_and_said_so(ledger, caplog, change):
    with ledger.transaction() as connection:
        save_calibrations(connection, {Stage.PLACED: Calibration([0.5], [0.4, 0.8])})
        connection.execute(text(f"UPDATE calibration SET {change}"))
        assert read_calibrations(connection)[Stage.PLACED].levels == list(SHARES)
    assert "implausible" in caplog.text
