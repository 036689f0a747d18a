"""`ladle nodes` and `ladle drain`: show nodes, and take them out of service."""

from __future__ import annotations

import click
from rich.console import Console

from broker_config.errors import LadleError
from planner.cli.tables import node_table, open_ledger, read_nodes
from planner.client.client import Client

console = Console()


@click.command()
def nodes() -> None:
    """Show the nodes: states, models, speeds, what is wrong.

    READY takes jobs; DRAINING finishes what it holds; UNFIT cannot serve (the note says why); GONE has not reported.
    """
    with open_ledger() as ledger:
        rows = read_nodes(ledger)
    if rows:
        console.print(node_table(rows))
    else:
        console.print("No node has ever reported. Start one with `ladle worker --node NAME`.")


@click.command()
@click.argument("node")
@click.option("--off", is_flag=True, help="End the drain: give it jobs again.")
def drain(node: str, off: bool) -> None:
    """Stop giving jobs to NODE.

    It finishes the job that it runs, and those in its queue go to other nodes.
    """
    with open_ledger() as ledger:
        known = [row["name"] for row in read_nodes(ledger)]
    if node not in known:
        raise LadleError(f"no node {node!r} has ever reported; known are: {', '.join(known) or 'none'}")
    with Client() as client:
        client.drain(node, on=not off)
    console.print(f"Asked the planner to {'use' if off else 'drain'} {node}; see `ladle nodes`.")
