"""Figures of the reproduction, drawn from its CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("agg")

# One for each rule of a learning curve, which are all grey.
LEVEL_STYLES = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)), (0, (12, 4)))

Points = Mapping[float, Sequence[float]]
"""Values of all seeds, by position on the x axis."""


def draw(
    path: Path,
    lines: Mapping[str, Points],
    levels: Mapping[str, float],
    *,
    title: str,
    x_label: str,
    log_x: bool = False,
    highest: float | None = None,
) -> None:
    """Draw the mean and the range over seeds of the ratio to Opt-TS.

    Args:
        path: PNG to write.
        lines: by learner or rule.
        levels: rules whose value does not depend on x, as horizontal lines.
        title: of the figure.
        x_label: of the x axis.
        log_x: whether the x axis is logarithmic.
        highest: upper end of the y axis; values above it are cut off.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        _draw_line(axes, name, points, np.inf if highest is None else highest)
    for style, (name, level) in zip(cycle(LEVEL_STYLES), levels.items(), strict=False):
        axes.axhline(level, linestyle=style, linewidth=1, color="grey", label=name)
    if highest is not None:
        values = [value for points in lines.values() for many in points.values() for value in many]
        _, top = axes.get_ylim()
        axes.set_ylim(0.95 * min([*values, *levels.values()]), min(top, highest))
    if log_x:
        axes.set_xscale("log")
    axes.set(title=title, xlabel=x_label, ylabel="mean service delay / Opt-TS")
    axes.legend(fontsize=7, ncols=2, handlelength=4.5)  # long enough for a whole period of every style
    figure.savefig(path, dpi=120)


def _draw_line(axes: Axes, name: str, points: Points, highest: float) -> None:
    """Draw the mean as a line and the range as a band; the legend says so if all of it lies above ``highest``."""
    x = sorted(points)
    mean = np.array([np.mean(points[value]) for value in x])
    low, high = (np.array([pick(points[value]) for value in x]) for pick in (min, max))
    label = name if mean.min(initial=np.inf) <= highest else f"{name}: above {highest:g}"
    (line,) = axes.plot(x, mean, marker="o", markersize=3, label=label)
    axes.fill_between(x, low, high, alpha=0.15, color=line.get_color())
