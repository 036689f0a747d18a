"""`ladle report`: how the site has done, as a picture and as one HTML page."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from broker_config.errors import LadleError
from planner.cli.duration import Duration
from planner.cli.tables import open_ledger
from planner.cli.terminal import plain
from planner.ledger.report_data import ReportData, read_report
from rl_agent.placing.estimates import FloatArray

console = Console()

MAX_ROUNDS_SHOWN = 50  # a night of one every ten minutes

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ladle report</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }} th, td {{ padding: .2rem .8rem; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }} tr:nth-child(even) {{ background: #f4f4f4; }}
img {{ max-width: 100%; }}
</style></head><body>
<h1>Ladle report</h1><p>{period}</p>
<img alt="Service delay, utilisation, placement shares, prediction error over time" src="data:image/png;base64,{png}">
<h2>By placer and policy</h2>{by_version}
<h2>By node</h2>{by_node}
<h2>Promised times</h2>{coverage}
<h2>Retraining</h2>{rounds}
</body></html>
"""


@click.command()
@click.option("--since", type=Duration(), help="Only what ended in the last 90s, 10m, 24h. Without it: everything.")
@click.option(
    "--out", default="ladle-report", show_default=True, type=click.Path(path_type=Path), help="Path without a suffix."
)
def command(since: float | None, out: Path) -> None:
    """Draw what the ledger says, as a picture and a page.

    Delays by part, utilisation, placement shares, prediction error, policy versions.

    Writes OUT.png and OUT.html; the page holds the picture and needs no other file.
    """
    from planner.cli.report.figure import draw  # matplotlib, only where it is used

    with open_ledger() as ledger:
        ledger.migrate()
        with ledger.transaction(reads=True) as connection:
            data = read_report(connection, 0.0 if since is None else time.time() - since)
    if data is None:
        raise LadleError("no job has ended in that time: there is nothing to report")
    png = draw(data)
    picture, page = out.with_name(out.name + ".png"), out.with_name(out.name + ".html")
    picture.write_bytes(png)
    page.write_text(_page(data, png))
    console.print(plain(f"{len(data.finished_at)} jobs: {picture} and {page}"))
    for stage, kept in data.coverage.items():
        if kept.predictions:
            within = f"{kept.p50:.0%} within its p50, {kept.p90:.0%} within its p90"
            console.print(plain(f"time promised when {stage}: of {kept.predictions} results {within} (50 %, 90 %)"))
    if data.rounds:
        console.print(plain(f"retraining: {_spent(data)}"))


def _page(data: ReportData, png: bytes) -> str:
    first, last = (datetime.fromtimestamp(at, UTC) for at in data.edges[[0, -1]])
    placers = [f"{placer} {version}".strip() for placer, version in zip(data.placer, data.version, strict=True)]
    return PAGE.format(
        period=f"{len(data.finished_at)} jobs, {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC",
        png=base64.b64encode(png).decode(),
        by_version=_table("placer", placers, data),
        by_node=_table("node", data.node, data),
        coverage=_coverage_table(data),
        rounds=_rounds_table(data),
    )


def _table(heading: str, group: Sequence[str], data: ReportData) -> str:
    """Return one row per value of `group`, with the delays of its jobs."""
    names, of_job = np.unique(np.array(group), return_inverse=True)
    headings = (heading, "jobs", "mean", "p50", "p95", "p99", "load", "generation")
    rows = [_cells(str(name), data, of_job == n) for n, name in enumerate(names)]
    return _html_table(headings, rows) + "<p>Seconds; mean, p50, p95 and p99 of the service delay.</p>"


def _coverage_table(data: ReportData) -> str:
    """Return how the promised times were kept."""
    rows = [
        [f"when {stage}", str(kept.predictions), f"{kept.p50:.0%}", f"{kept.p90:.0%}"]
        for stage, kept in data.coverage.items()
        if kept.predictions
    ]
    note = "<p>Results that came within the promised median and 90th percentile; 50 % and 90 % are right.</p>"
    return _html_table(("promised", "results", "within p50", "within p90"), rows) + note


def _spent(data: ReportData) -> str:
    """Return what all rounds together took."""
    wall_s, processor_s = (sum(one[name] for one in data.rounds) for name in ("wall_s", "processor_s"))
    return f"{len(data.rounds)} rounds, {wall_s:.0f} s, {processor_s:.0f} s of the processor"


def _rounds_table(data: ReportData) -> str:
    """Return what each of the newest rounds of retraining took, and what came of it."""
    if not data.rounds:
        return "<p>None in this time.</p>"
    rows = [
        [
            f"{datetime.fromtimestamp(one['began_at'], UTC):%Y-%m-%d %H:%M:%S}",
            str(one["outcomes"]),
            f"{one['wall_s']:.0f}",
            f"{one['processor_s']:.0f}",
            one["reason"] or "not ended",
        ]
        for one in data.rounds[:MAX_ROUNDS_SHOWN]
    ]
    headings = ("began (UTC)", "new outcomes", "seconds", "of the processor", "what came of it")
    return _html_table(headings, rows) + f"<p>In all {_spent(data)}.</p>"


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(name: str, data: ReportData, which: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[str]:
    delay_s: FloatArray = data.delay_s[which]
    quantiles = [delay_s.mean(), *np.quantile(delay_s, (0.5, 0.95, 0.99)), *data.parts_s[which][:, 2:4].mean(axis=0)]
    return [name, str(int(which.sum())), *(f"{value:.2f}" for value in quantiles)]
