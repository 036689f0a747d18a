"""The picture of `ladle report`: four panels over one axis of time, promotions as vertical lines."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib import colormaps, dates
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from broker_config.messages import DELAY_PARTS
from planner.ledger.report_data import ReportData

PART_COLOURS = ("#8da0cb", "#bdbdbd", "#e78ac3", "#66c2a5", "#fc8d62")
QUANTILES = (0.1, 0.5, 0.9)  # of taken over predicted: the median, and the band of four jobs in five


def draw(data: ReportData) -> bytes:
    """Return the picture as PNG."""
    heights = [2.2, 0.5 + 0.22 * len(data.nodes), 1.6, 1.6]
    figure = Figure(figsize=(11, 1.6 + sum(heights)), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    at = [datetime.fromtimestamp(second, UTC) for second in data.middles]
    _delay(panels[0], data, at)
    _utilisation(figure, panels[1], data)
    _shares(panels[2], data, at)
    _error(panels[3], data, at)
    _promotions(panels, data)
    panels[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(panels[-1].xaxis.get_major_locator()))
    panels[-1].set_xlabel("when the job ended (UTC)")
    panels[0].set_xlim(_time(data.edges[0]), _time(data.edges[-1]))
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=120)
        return file.getvalue()


def _time(second: float) -> Any:
    return datetime.fromtimestamp(second, UTC)


def _delay(panel: Any, data: ReportData, at: list[datetime]) -> None:
    parts_s = np.nan_to_num(data.mean_parts_s())
    panel.stackplot(at, parts_s.T, labels=[name.removesuffix("_s") for name in DELAY_PARTS], colors=PART_COLOURS)
    panel.set_ylabel("service delay (s)")
    panel.set_ylim(bottom=0.0)
    _legend(panel)


def _utilisation(figure: Figure, panel: Any, data: ReportData) -> None:
    edges = [_time(second) for second in data.edges]
    rows = np.arange(len(data.nodes) + 1) - 0.5
    mesh = panel.pcolormesh(edges, rows, data.utilisation(), cmap="YlGnBu", vmin=0.0, vmax=1.0)
    panel.set_yticks(range(len(data.nodes)), data.nodes, fontsize="small")
    panel.invert_yaxis()
    panel.set_ylabel("utilisation")
    figure.colorbar(mesh, ax=panel, format=FuncFormatter(lambda share, _: f"{share:.0%}"), pad=0.01)


def _shares(panel: Any, data: ReportData, at: list[datetime]) -> None:
    colours = colormaps["tab20"](np.arange(len(data.nodes)) % 20)
    panel.stackplot(at, data.shares(), labels=data.nodes, colors=colours)
    panel.set_ylim(0.0, 1.0)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    panel.set_ylabel("share of the jobs")
    if len(data.nodes) <= 12:
        _legend(panel)


def _error(panel: Any, data: ReportData, at: list[datetime]) -> None:
    quantiles = data.error_quantiles(QUANTILES)
    panel.fill_between(at, quantiles[:, 0], quantiles[:, 2], color="#8da0cb", alpha=0.4, label="10-90 %", linewidth=0)
    panel.plot(at, quantiles[:, 1], color="#1f3b73", label="median")
    panel.axhline(1.0, color="black", linewidth=0.8)
    panel.set_yscale("log", base=2)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x"))
    panel.set_ylabel("taken / predicted")
    _legend(panel)


def _promotions(panels: Any, data: ReportData) -> None:
    for version, second in data.promotions.items():
        for panel in panels:
            panel.axvline(_time(second), color="#d62728", linewidth=1.2, linestyle="--")
        panels[0].annotate(
            version, (_time(second), 1.01), xycoords=("data", "axes fraction"), color="#d62728", fontsize="x-small"
        )


def _legend(panel: Any) -> None:
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
