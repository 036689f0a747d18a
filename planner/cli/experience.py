"""`ladle experience`: what the experience log holds, and its export."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from broker_config.settings import load_settings
from planner.cli.tables import open_ledger
from planner.cli.terminal import plain
from rl_agent.experience.log import count_experience

console = Console()


@click.group()
def command() -> None:
    """Look at the log of placements and what became of them."""


@command.command()
def count() -> None:
    """Say how many decisions are logged."""
    with open_ledger() as ledger:
        ledger.migrate()
        with ledger.transaction(reads=True) as connection:
            total, rewarded = count_experience(connection)
    kept = load_settings().experience_kept
    console.print(f"{total} decisions, {rewarded} with a reward; the newest {kept} are kept.")


@command.command()
@click.option("--out", default="experience.parquet", show_default=True, type=click.Path(path_type=Path), help="File.")
@click.option("--after", default=0, help="Only rows with a greater id.")
def export(out: Path, after: int) -> None:
    """Write the log as a Parquet file.

    Matrices are lists, and each row has the next observation of its ingress.
    """
    from rl_agent.experience.export import export_parquet

    with open_ledger() as ledger:
        ledger.migrate()
        with ledger.transaction(reads=True) as connection:
            written, unreadable = export_parquet(connection, out, after=after)
    console.print(
        plain(f"{written} decisions written to {out}." + (f" {unreadable} unreadable." if unreadable else ""))
    )
