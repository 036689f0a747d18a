"""The table both `ladle demo` and `ladle bench` end with: service delay by node and by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from broker_config.messages import Delays

PART_HEADINGS = {
    "transfer_in_s": "in",
    "waiting_s": "waiting",
    "load_s": "load",
    "generation_s": "drawing",
    "transfer_out_s": "out",
}


def delay_table(rows: Sequence[tuple[str, Delays]]) -> Table:
    """Return one row per node and one for all: jobs, busy time, mean and p95 of the service delay, mean of each part.

    Args:
        rows: node and measured delays of each DONE job.
    """
    title = "Service delay in seconds, and the means of its parts (in, out: transfers)"
    table = Table(title=title, title_justify="left")
    table.add_column("node", no_wrap=True)
    for heading in ("jobs", "busy", "mean", "p95", *PART_HEADINGS.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for node in sorted({node for node, _ in rows}):
        table.add_row(node, *_cells([delays for name, delays in rows if name == node]))
    table.add_section()
    table.add_row("all", *_cells([delays for _, delays in rows]))
    return table


def _cells(delays: Sequence[Delays]) -> list[str]:
    service_s = np.array([one.service_delay_s for one in delays])
    busy_s = sum(one.load_s + one.generation_s for one in delays)
    means = [float(np.mean([getattr(one, part) for one in delays])) for part in PART_HEADINGS]
    numbers = [busy_s, float(service_s.mean()), float(np.percentile(service_s, 95)), *means]
    return [str(len(delays)), *(f"{number:.2f}" if number < 10 else f"{number:.1f}" for number in numbers)]
