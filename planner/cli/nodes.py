"""`ladle nodes`, `drain`, `pause` and `resume`: show nodes, and take them out of service."""

from __future__ import annotations

import time

import click
from rich.console import Console

from broker_config.errors import LadleError
from planner.cli.duration import Duration
from planner.cli.tables import ago, node_table, open_ledger, read_estimates, read_nodes
from planner.cli.terminal import plain
from planner.client.client import Client
from planner.ledger.ledger import LedgerRow
from planner.state.cluster import NodeState

console = Console()

SILENT_AFTER_S = 10.0  # a planner ticks every second; a long turn delays that by some
LONG_GONE_S = 3600.0  # what has been away for an hour is not about to come back


@click.command()
@click.option("--all", "is_all", is_flag=True, help="Also those that have been GONE for more than an hour.")
def nodes(is_all: bool) -> None:
    """Show the nodes: states, models, speeds, what is wrong.

    READY takes jobs; DRAINING finishes what it holds; UNFIT cannot serve (the note says why); GONE has not reported.
    While no planner runs nobody hears reports: then each state is the last one known.
    """
    with open_ledger() as ledger:
        ledger.migrate()
        with ledger.transaction(reads=True) as connection:
            rows, ticked_at = ledger.nodes(connection), ledger.last_tick(connection)
        estimates = read_estimates(ledger)
    if not rows:
        console.print("No node has ever reported. Start one with `ladle worker --node NAME`.")
        return
    is_watched = ticked_at is not None and time.time() - ticked_at < SILENT_AFTER_S
    shown = [row for row in rows if is_all or not _is_long_gone(row)]
    console.print(node_table(shown, estimates, is_watched=is_watched))
    if len(shown) < len(rows):
        console.print(f"{len(rows) - len(shown)} more GONE for more than an hour: `ladle nodes --all` shows them.")
    if not is_watched:
        since = "" if ticked_at is None else f" (the last one was seen {ago(ticked_at)})"
        console.print(
            plain(f"No planner runs{since}, so nobody hears the nodes: start one with `ladle planner`.", "yellow")
        )


def _is_long_gone(row: LedgerRow) -> bool:
    return NodeState(row["state"]) is NodeState.GONE and bool(time.time() - row["seen_at"] > LONG_GONE_S)


@click.command()
@click.argument("node")
@click.option("--off", is_flag=True, help="End the drain: give it jobs again.")
def drain(node: str, off: bool) -> None:
    """Stop giving jobs to NODE.

    It finishes the job that it runs, and those in its queue go to other nodes.
    """
    _drain(node, on=not off)


@click.command()
@click.argument("node")
@click.option("--for", "for_s", type=Duration(), required=True, help="How long: 90s, 10m or 2h.")
def pause(node: str, for_s: float) -> None:
    """Stop giving jobs to NODE for some time.

    Its GPU is needed for something else, say. It finishes the job that it runs, and those in its queue go to other
    nodes. It gets jobs again by itself.

    \b
    ladle pause attic --for 2h
    """
    _drain(node, on=True, for_s=for_s)


@click.command()
@click.argument("node")
def resume(node: str) -> None:
    """Give jobs to NODE again, which was paused or drained."""
    _drain(node, on=False)


def _drain(node: str, *, on: bool, for_s: float | None = None) -> None:
    with open_ledger() as ledger:
        ledger.migrate()
        known = [row["name"] for row in read_nodes(ledger)]
    if node not in known:
        raise LadleError(f"no node {node!r} has ever reported; known are: {', '.join(known) or 'none'}")
    with Client() as client:
        client.drain(node, on=on, for_s=for_s)
    asked = "use" if not on else "drain" if for_s is None else "pause"
    console.print(f"Asked the planner to {asked} {node}; see `ladle nodes`.")
