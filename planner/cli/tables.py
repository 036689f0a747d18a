"""What the ledger says, as tables for the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from broker_config.errors import LadleError
from broker_config.messages import Delays, JobState
from broker_config.settings import load_settings
from planner.ledger import Ledger

STATE_STYLE = {
    JobState.WAITING: "yellow",
    JobState.PLACED: "cyan",
    JobState.RUNNING: "cyan",
    JobState.DONE: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
    JobState.EXPIRED: "red",
}
NODE_STYLE = {"READY": "green", "DRAINING": "yellow", "UNFIT": "red", "GONE": "red"}
Row = Mapping[str, Any]


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Open the ledger of the settings, to read it.

    Raises:
        LadleError: no planner has used it yet.
    """
    ledger = Ledger(load_settings().database)
    try:
        if not ledger.has_tables():
            raise LadleError("the ledger is empty: no planner has run on it yet; start one with `ladle planner`")
        yield ledger
    finally:
        ledger.close()


def read_nodes(ledger: Ledger) -> list[Row]:
    """Return the rows of all nodes."""
    with ledger.transaction() as connection:
        return list(ledger.nodes(connection))


def node_table(rows: Sequence[Row]) -> Table:
    """Return one row per node: state, device, models, speed, what is emulated."""
    table = Table(title="Nodes", title_justify="left")
    for heading in ("node", "state", "device", "in memory", "s / megapixel step", "last change", "note"):
        table.add_column(heading, justify="right" if heading.startswith("s /") else "left")
    for row in rows:
        report = row["report"]
        speeds = [f"{speed['s_per_unit']:.3g}" for speed in report.get("speeds", {}).values()]
        drifts = [
            f"drift: {model} took {alarm['factor']:g}x {ago(alarm['since'])}" for model, alarm in row["drift"].items()
        ]
        note = "; ".join(text for text in (row["reason"], *drifts, report.get("emulated", "")) if text)
        state = f"[{NODE_STYLE[row['state']]}]{row['state']}[/]"
        table.add_row(
            row["name"],
            state,
            report.get("device", ""),
            ", ".join(report.get("resident", [])),
            ", ".join(speeds),
            ago(row["seen_at"]),
            note,
        )
    return table


def job_table(rows: Sequence[Row]) -> Table:
    """Return one row per job, narrow enough for 80 columns."""
    table = Table(title="Jobs", title_justify="left")
    for heading in ("job", "state", "node", "delay", "prompt"):
        table.add_column(heading, justify="right" if heading == "delay" else "left", no_wrap=True)
    for row in rows:
        delay_s = service_delay_s(row)
        table.add_row(
            row["id"],
            f"[{STATE_STYLE[JobState(row['state'])]}]{row['state']}[/]",
            row["node"] or "",
            "" if delay_s is None else f"{delay_s:.2f} s",
            row["request"]["prompt"],
        )
    return table


def service_delay_s(row: Row) -> float | None:
    """Return the service delay of a DONE job's row."""
    if row["waiting_s"] is None:
        return None
    return Delays(**{name: row[name] for name in Delays.model_fields}).service_delay_s


def ago(at: float) -> str:
    """Say how long ago `at` (Unix seconds) was."""
    seconds = max(time.time() - at, 0.0)
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
