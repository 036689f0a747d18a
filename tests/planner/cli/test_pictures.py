"""What `ladle demo` and `ladle bench` print and draw."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from broker_config.messages import Delays
from planner.cli.bench.load import FASTEST_S_PER_STEP, SPEED_RATIO, arrivals, emulated_nodes
from planner.cli.contact_sheet import SheetPicture, draw_contact_sheet
from planner.cli.delay_table import delay_table


def test_a_contact_sheet_shows_every_picture_at_its_place(tmp_path):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    pictures = [
        SheetPicture(image=Image.new("RGB", (64, 64), colour), caption="a very long caption " * 5, note="node")
        for colour in colours
    ]
    draw_contact_sheet(pictures, tmp_path / "new" / "sheet.png", columns=2)
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    for colour, (row, column) in zip(colours, [(0, 0), (0, 1), (1, 0)], strict=True):
        rows, columns = np.where((sheet == colour).all(axis=2))
        assert len(rows) == 128 * 128
        assert (rows.mean() > sheet.shape[0] / 2) == bool(row)
        assert (columns.mean() > sheet.shape[1] / 2) == bool(column)


def test_the_delay_table_adds_up_and_fits_80_columns():
    one = Delays(transfer_in_s=0.5, waiting_s=1.0, load_s=2.0, generation_s=3.0, transfer_out_s=0.5)
    two = Delays(transfer_in_s=0.0, waiting_s=12.0, load_s=0.0, generation_s=1.0, transfer_out_s=0.0)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(delay_table([("fast", one), ("slow", two)]))
    console.file.close()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}
    assert rows["fast"] == ["1", "5.00", "7.00", "7.00", "0.50", "1.00", "2.00", "3.00", "0.50"]
    assert rows["all"][:3] == ["2", "6.00", "10.0"]


def test_emulated_nodes_span_the_speed_ratio():
    speeds = [node.s_per_step for node in emulated_nodes(5)]
    assert speeds[0] == FASTEST_S_PER_STEP
    assert speeds[-1] == pytest.approx(SPEED_RATIO * FASTEST_S_PER_STEP)
    assert speeds == sorted(speeds)


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_arrivals_bring_the_asked_load_and_are_the_same_for_the_same_seed(load):
    nodes = emulated_nodes(5)
    jobs = arrivals(nodes, 4000, load, seed=3)
    steps_per_s = sum(1 / node.s_per_step for node in nodes)
    assert sum(job.image_steps for job in jobs) / jobs[-1].at_s == pytest.approx(load * steps_per_s, rel=0.06)
    assert jobs == arrivals(nodes, 4000, load, seed=3)
    assert jobs != arrivals(nodes, 4000, load, seed=4)
