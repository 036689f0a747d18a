"""What `ladle demo` draws at its end."""

from __future__ import annotations

import numpy as np
from PIL import Image

from planner.cli.contact_sheet import SheetPicture, draw_contact_sheet


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
