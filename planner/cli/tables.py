"""What the ledger says, as tables for the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from broker_config.messages import Delays, JobState
from broker_config.settings import load_settings
from planner.cli.terminal import plain
from planner.errors import NoLedgerYetError
from planner.ledger.ledger import Ledger, LedgerRow
from planner.state.cluster import few
from planner.state.lacks import in_words
from rl_agent.placing.estimates import Estimates, ModelEstimate

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
MIN_PROMPT_CHARACTERS = 8  # a word or two: enough to know a job by
EDGES = 16  # lines and spaces around five columns


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Open the ledger of the settings, which a planner must have created.

    Raises:
        NoLedgerYetError: no planner has run on it yet.
    """
    ledger = Ledger(load_settings().database)
    try:
        if not ledger.has_tables():
            raise NoLedgerYetError(ledger.url)
        yield ledger
    finally:
        ledger.close()


def read_nodes(ledger: Ledger) -> list[LedgerRow]:
    """Return the rows of all nodes."""
    with ledger.transaction() as connection:
        return list(ledger.nodes(connection))


def read_estimates(ledger: Ledger) -> Estimates:
    """Return the running estimates of the nodes' speeds."""
    with ledger.transaction(reads=True) as connection:
        return ledger.estimates(connection)


def node_table(rows: Sequence[LedgerRow], estimates: Estimates, *, is_watched: bool = True) -> Table:
    """Return one row per node: state, device, models, speed, what is emulated.

    Args:
        rows: of the nodes.
        estimates: of their speeds.
        is_watched: a planner runs. Otherwise each state is the last one known, and said to be past.
    """
    table = Table(title="Nodes", title_justify="left")
    for heading in ("node", "state", "device", "in memory", "s / megapixel step", "last change", "note"):
        table.add_column(heading, justify="right" if heading.startswith("s /") else "left")
    for row in rows:
        report = row["report"]
        speeds = [_speed(model, known) for model, known in sorted(estimates.by_node.get(row["name"], {}).items())]
        drifts = [
            f"drift: {model} took {alarm['factor']:g}x {ago(alarm['since'])}" for model, alarm in row["drift"].items()
        ]
        adapters = sorted((report.get("abilities") or {}).get("adapters") or {})
        has = f"adapters: {few(adapters)}" if adapters else ""
        pause = "" if row["drained_until"] is None else f"paused, gets jobs again {moment(row['drained_until'])}"
        note = "; ".join(text for text in (pause, row["reason"], *drifts, has, report.get("emulated", "")) if text)
        table.add_row(
            plain(row["name"]),
            plain(row["state"], NODE_STYLE[row["state"]]) if is_watched else plain(f"was {row['state']}", "dim"),
            plain(_device(report)),
            plain(", ".join(_resident(report))),
            plain(", ".join(speeds)),
            ago(row["seen_at"]),
            plain(note),
        )
    return table


def _device(report: Mapping[str, Any]) -> str:
    """Return a node's device, and how much of its memory is free."""
    abilities = report.get("abilities") or {}
    total_mib, free_mib = abilities.get("memory_mib"), abilities.get("memory_free_mib")
    device: str = report.get("device", "")
    if total_mib is None or free_mib is None:
        return device
    return f"{device}, {free_mib / 1024:.1f} of {total_mib / 1024:.1f} GiB free"


def _resident(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield each model in a node's memory, with the adapters that were loaded into it."""
    loaded = (report.get("abilities") or {}).get("loaded_adapters", {})
    for model in report.get("resident", []):
        yield " + ".join((model, *loaded.get(model, ())))


def _speed(model: str, estimate: ModelEstimate) -> str:
    """Return a running estimate with its spread: one standard deviation."""
    rate = estimate.s_per_unit
    if not estimate.is_measured:
        return f"{model} {rate.median:.3g} at start"
    return f"{model} {rate.median:.3g} ± {math.expm1(rate.std_log):.0%}"


def job_table(rows: Sequence[LedgerRow], width: int) -> Table:
    """Return one row per job, of one line each: only the prompt is truncated, to the width that the others leave.

    Args:
        rows: of the jobs.
        width: of the terminal. The table may be wider: print it with `crop=False`.
    """
    headings = ("job", "state", "node", "delay")
    cells = [(row["id"], row["state"], row["node"] or "", _delay(row)) for row in rows]
    needed = sum(max(map(len, column)) for column in zip(headings, *cells, strict=True)) + MIN_PROMPT_CHARACTERS + EDGES
    table = Table(title="Jobs", title_justify="left", width=needed if needed > width else None)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "delay" else "left", no_wrap=True)
    table.add_column("prompt")  # rich narrows first what may wrap; its cells do not
    for row, (job, state, node, delay) in zip(rows, cells, strict=True):
        prompt = plain(" ".join(row["request"]["prompt"].split()))
        prompt.no_wrap, prompt.overflow = True, "ellipsis"
        table.add_row(plain(job), plain(state, STATE_STYLE[JobState(state)]), plain(node), delay, prompt)
    return table


def _delay(row: LedgerRow) -> str:
    delay_s = service_delay_s(row)
    return "" if delay_s is None else f"{delay_s:.2f} s"


def service_delay_s(row: LedgerRow) -> float | None:
    """Return the service delay of a DONE job's row."""
    if row["waiting_s"] is None:
        return None
    return Delays(**{name: row[name] for name in Delays.model_fields}).service_delay_s


def ago(at: float) -> str:
    """Say how long ago `at` (Unix seconds) was."""
    return f"{in_words(max(time.time() - at, 0.0))} ago"


def moment(at: float) -> str:
    """Say how far `at` (Unix seconds) is away, in the past or in the future."""
    ahead_s = at - time.time()
    return f"in {in_words(ahead_s)}" if ahead_s > 0 else ago(at)
