"""What the ledger keeps of the calibrations of predictions, so that a restart forgets nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sqlalchemy import Connection, select

from planner.calibration import LEVELS, MAX_SCORE, SHARES, Calibration, Stage
from planner.ledger.tables import CalibrationRow
from planner.ledger.writing import upsert

logger = logging.getLogger(__name__)


def read_calibrations(connection: Connection) -> dict[Stage, Calibration]:
    """Return the calibration of each stage as it was saved last, else a new one; an implausible one is said so."""
    found = {stage: Calibration() for stage in Stage}
    for row in connection.execute(select(CalibrationRow)).mappings():
        stage, scores, levels = Stage(row["stage"]), row["scores"], (row["p50_level"], row["p90_level"])
        if _is_plausible(scores, levels):
            found[stage] = Calibration(scores, levels)
        else:
            logger.warning("forgotten: an implausible calibration of predictions when %s", stage)
    return found


def save_calibrations(connection: Connection, calibrations: Mapping[Stage, Calibration]) -> None:
    """Save calibrations in place of those of their stages."""
    rows = [
        {
            "stage": stage,
            "scores": [round(score, 4) for score in calibration.scores],
            "p50_level": calibration.levels[0],
            "p90_level": calibration.levels[1],
        }
        for stage, calibration in calibrations.items()
    ]
    upsert(connection, CalibrationRow, ("stage",), rows)


def _is_plausible(scores: object, levels: tuple[float, ...]) -> bool:
    """True when the row holds what `save_calibrations` writes: a person, or another program, may have changed it."""
    return (
        isinstance(scores, list)
        and all(isinstance(score, int | float) and abs(score) <= MAX_SCORE for score in scores)
        and len(levels) == len(SHARES)
        and all(LEVELS[0] <= level <= LEVELS[1] for level in levels)
    )
