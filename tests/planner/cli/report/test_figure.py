"""The picture of `ladle report`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from planner.ledger.report_data import ReportData


@pytest.mark.parametrize("nodes", [1, 14], ids=["one-node", "more-nodes-than-the-legend-has-room-for"])
def test_every_number_of_nodes_is_drawn_and_more_nodes_make_it_higher(nodes):
    pytest.importorskip("matplotlib")
    from planner.cli.report.figure import draw

    one = np.arange(20.0)
    data = ReportData(
        finished_at=one,
        parts_s=np.ones((20, 5)),
        node=[f"node-{number % nodes}" for number in range(20)],
        placer=["random"] * 20,
        version=[""] * 20,
        edges=np.array([0.0, 10.0, 19.0]),
        error_at=one[:5],  # none in the second span
        error=one[:5] + 0.5,
        promotions={"v1": 7.0},
        busy={"node-0": np.array([[1.0, 5.0]])},
        coverage={},
    )
    with Image.open(io.BytesIO(draw(data))) as picture:
        assert picture.width == 11 * 120
        assert picture.height == pytest.approx((1.6 + 2.2 + 0.5 + 0.22 * nodes + 1.6 + 1.6) * 120, abs=1)
