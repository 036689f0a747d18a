"""`ladle bench`: all placers and the shared queue side by side, on emulated nodes over the real broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker_config.settings import PLACERS, Settings, load_settings, placer_names
from planner.cli.bench.load import EmulatedNode, arrivals, emulated_nodes
from planner.cli.bench.run import Measured, run
from planner.cli.terminal import plain
from planner.serving.placers import check_placer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

console = Console()

RIVAL = "shared-queue"
MAX_NODES_SHOWN = 8  # columns that fit into a terminal of 80 characters
PLACER_HELP = f"{', '.join((RIVAL, *PLACERS))}; all; or package.module:Class. May be repeated."


@click.command()
@click.option("--nodes", default=5, show_default=True, type=click.IntRange(1, 64), help="Emulated nodes, speeds 1:5.")
@click.option("--jobs", default=200, show_default=True, type=click.IntRange(1), help="Jobs per placer.")
@click.option("--placer", "placers", multiple=True, default=["all"], help=PLACER_HELP)
@click.option("--load", default=0.7, show_default=True, type=click.FloatRange(0.05, 3), help="Work over capacity.")
@click.option("--load-s", default=4.0, show_default=True, help="Seconds to load one of the two models (cold start).")
@click.option("--time-scale", default=0.05, show_default=True, help="Emulated seconds are this much shorter.")
@click.option("--seed", default=1, show_default=True, help="Of the arrivals; the same for every placer.")
@click.option("--out", default="bench.png", show_default=True, type=click.Path(path_type=Path), help="PNG to draw.")
def command(
    nodes: int,
    jobs: int,
    placers: tuple[str, ...],
    load: float,
    load_s: float,
    time_scale: float,
    seed: int,
    out: Path,
) -> None:
    """Compare placement rules on emulated nodes.

    The processes are real, and the broker is that of LADLE_BROKER_URL.

    Every placer gets the same arrivals. shared-queue is plain Celery with one queue and prefetch 1: what you would run
    without Ladle. Delays are measured at the client, in emulated seconds.

    \b
    ladle bench --nodes 5 --jobs 200 --placer all
    ladle bench --placer shared-queue --placer earliest-completion --load 0.9
    PYTHONPATH=. ladle bench --placer shared-queue --placer my_placers:CautiousPlacer
    """
    from matplotlib.figure import Figure  # asked for before the long work, not after it

    settings = load_settings().with_changes(time_scale=time_scale, node_timeout_s=60)
    chosen = _checked(placers, settings)
    fleet = emulated_nodes(nodes)
    load_of_jobs = arrivals(fleet, jobs, load, seed)
    measured: dict[str, list[Measured]] = {}
    columns = (TextColumn("{task.description:>22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for placer in chosen:
            bar = progress.add_task(placer, total=jobs)
            measured[placer] = run(settings, placer, fleet, load_of_jobs, load_s, partial(progress.advance, bar))
    title = (
        f"{nodes} emulated nodes (speeds 1:5), {jobs} jobs of 2 models, load {load:g}, cold start {load_s:g} s, "
        f"window {settings.window:g}; service delay in emulated seconds"
    )
    console.print(_table(measured, title))
    console.print(_share_table(measured, fleet))
    figure = Figure(figsize=(11, 0.5 * len(measured) + 2.2), layout="constrained")
    _draw(figure, measured, fleet, title)
    figure.savefig(out, dpi=130)
    console.print(plain(f"Drawn: {out}"))


def _checked(placers: Sequence[str], settings: Settings) -> Sequence[str]:
    """Return the placers to compare, so that a wrong one is refused before any of them runs.

    Raises:
        click.BadParameter: one is unknown.
        ConfigurationError: one cannot be made.
    """
    known = (RIVAL, *placer_names())
    chosen = known if "all" in placers else placers
    for placer in chosen:
        if placer not in known and ":" not in placer:
            raise click.BadParameter(f"{placer!r} is none of {', '.join(known)}", param_hint="--placer")
        if placer != RIVAL:
            check_placer(settings.with_changes(placer=placer))
    return chosen


def _table(measured: Mapping[str, Sequence[Measured]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("placer", no_wrap=True)
    for heading in ("mean", "/ rival", "p50", "p95", "p99", "makespan"):
        table.add_column(heading, justify="right", no_wrap=True)
    rival = np.mean([one.delay_s for one in measured[RIVAL]]) if RIVAL in measured else None
    for placer, jobs in sorted(measured.items(), key=lambda item: np.mean([one.delay_s for one in item[1]])):
        delays = np.array([one.delay_s for one in jobs])
        ratio = "" if rival is None else f"{delays.mean() / rival:.3f}"
        table.add_row(
            placer,
            f"{delays.mean():.2f}",
            ratio,
            *(f"{np.percentile(delays, q):.2f}" for q in (50, 95, 99)),
            f"{max(one.end_s for one in jobs):.0f}",
        )
    return table


def _shares(jobs: Sequence[Measured], fleet: Sequence[EmulatedNode]) -> list[float]:
    """Return each node's share of the jobs."""
    return [sum(one.node == node.name for one in jobs) / len(jobs) for node in fleet]


def _share_table(measured: Mapping[str, Sequence[Measured]], fleet: Sequence[EmulatedNode]) -> Table:
    shown = fleet[:MAX_NODES_SHOWN]
    table = Table(title="Share of jobs by node (emulated image steps per second)", title_justify="left")
    table.add_column("placer", no_wrap=True)
    for node in shown:
        table.add_column(f"{1 / node.s_per_step:.1f}", justify="right", no_wrap=True)
    for placer, jobs in measured.items():
        table.add_row(placer, *(f"{share:.0%}" for share in _shares(jobs, shown)))
    return table


def _draw(
    figure: Figure, measured: Mapping[str, Sequence[Measured]], fleet: Sequence[EmulatedNode], title: str
) -> None:
    """Draw the spread of delays, and who drew how many jobs, one row per placer."""
    order = sorted(measured, key=lambda placer: -float(np.mean([one.delay_s for one in measured[placer]])))
    delays, shares = figure.subplots(1, 2, sharey=True)
    delays.boxplot(
        [[one.delay_s for one in measured[placer]] for placer in order],
        orientation="horizontal",
        tick_labels=order,
        whis=(5, 95),
        showfliers=False,
        showmeans=True,
    )
    delays.set_xlabel("service delay, emulated s (box: quartiles, whiskers: 5-95 %, triangle: mean)")
    left = np.zeros(len(order))
    by_placer = np.array([_shares(measured[placer], fleet) for placer in order])
    for node, width in zip(fleet, by_placer.T, strict=True):
        shares.barh(range(1, len(order) + 1), width, left=left, label=f"{1 / node.s_per_step:.0f} steps/s")
        left += width
    shares.set_xlabel("share of jobs by node (emulated speed)")
    shares.legend(fontsize="small", ncols=len(fleet), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.suptitle(title, fontsize=9)
