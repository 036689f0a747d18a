from __future__ import annotations

from pathlib import Path

from PIL import Image

from rl_agent.reproduction.plots import draw


def test_lines_and_levels_become_a_picture(tmp_path: Path) -> None:
    lines = {"LAD-TS": {0.0: [1.0, 1.2], 20.0: [1.0, 1.1]}, "far off": {0.0: [40.0], 20.0: [30.0]}}
    path = tmp_path / "curve.png"
    draw(path, lines, {"Opt-TS": 1.0}, title="Learning", x_label="episodes", highest=2.0)
    with Image.open(path) as picture:
        assert picture.size == (960, 540)
        colours = picture.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 10


def test_a_logarithmic_axis_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "sweep.png"
    draw(path, {"LAD-TS": {0.001: [1.0], 0.1: [1.1]}}, {}, title="Entropy", x_label="alpha", log_x=True)
    assert path.stat().st_size > 5_000
