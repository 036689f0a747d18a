"""`ladle dead`: the messages that no process could handle."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from broker_config.app import make_app
from broker_config.errors import LadleError, UnroutableError
from broker_config.publisher import Publisher
from broker_config.settings import load_settings
from planner.cli.tables import ago, open_ledger
from planner.cli.terminal import plain
from planner.ledger.ledger import Ledger, LedgerRow
from planner.turns.dead_letters import body_text, jobs_of, post_of, queue_of

console = Console()


@click.group()
def command() -> None:
    """Show, requeue or drop messages that no process could handle.

    \b
    ladle dead list                 the newest, and why they are dead
    ladle dead show 7               headers and body of letter 7
    ladle dead requeue 7            publish it again to the queue it came from
    ladle dead drop 7 8 9           delete them
    """


@command.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many of the newest.")
def list_letters(limit: int) -> None:
    """List the newest dead letters, newest first."""
    with open_ledger() as ledger, ledger.transaction(reads=True) as connection:
        rows = ledger.newest_dead_letters(connection, limit)
    if not rows:
        console.print("No dead letters.")
        return
    table = Table("id", "when", "queue", "job", "bytes", "reason", title="Dead letters", title_justify="left")
    for row in rows:
        cells = (str(row["id"]), ago(row["received_at"]), queue_of(row), _jobs(row), str(row["body_bytes"]))
        table.add_row(*map(plain, (*cells, row["reason"])))
    console.print(table)


@command.command()
@click.argument("letter", type=int)
def show(letter: int) -> None:
    """Show headers and body of a LETTER, as far as they are kept. Nothing in it is run or unpickled."""
    with open_ledger() as ledger, ledger.transaction(reads=True) as connection:
        (row,) = _letters(ledger, connection, [letter])
    facts = Table(show_header=False, box=None)
    for name in ("id", "reason", "routing_key", "content_type", "content_encoding", "body_bytes"):
        facts.add_row(name, plain(str(row[name])))
    facts.add_row("queue", plain(queue_of(row)))
    facts.add_row("received", ago(row["received_at"]))
    facts.add_row("job", plain(_jobs(row)))
    for name, value in row["headers"].items():
        facts.add_row(plain(f"header {name}"), plain(value if isinstance(value, str) else json.dumps(value)))
    console.print(facts)
    console.print(plain(body_text(row)), soft_wrap=True)


@command.command()
@click.argument("letters", type=int, nargs=-1, required=True)
def requeue(letters: tuple[int, ...]) -> None:
    """Publish LETTERS again to the queues they came from.

    They are published unchanged, and deleted here.

    Look at a letter first (`ladle dead show`): it is published just as its sender wrote it. One that is still malformed
    is refused again and comes back as a new letter. The planner has already placed the job of a dead assignment again.
    """
    settings = load_settings()
    app = make_app("ladle-dead", settings, queues=[], include=[])
    publisher = Publisher(app, confirm_timeout_s=settings.confirm_timeout_s)
    with open_ledger() as ledger:
        with ledger.transaction(reads=True) as connection:
            posts = {row["id"]: post_of(row) for row in _letters(ledger, connection, letters)}
        try:
            unroutable = publisher.publish(list(posts.values()))
        finally:
            publisher.close()
        lost = {id(post) for post in unroutable}
        sent = [letter for letter, post in posts.items() if id(post) not in lost]
        with ledger.transaction() as connection:
            ledger.drop_dead_letters(connection, sent)
    console.print(f"{len(sent)} requeued. What is still malformed comes back as a new letter.")
    if unroutable:
        raise UnroutableError(unroutable[0].exchange, unroutable[0].routing_key)


@command.command()
@click.argument("letters", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them.")
def drop(letters: tuple[int, ...], every: bool) -> None:
    """Delete LETTERS."""
    if every == bool(letters):
        raise click.UsageError("name LETTERS, or --all")
    with open_ledger() as ledger, ledger.transaction() as connection:
        if letters:
            _letters(ledger, connection, letters)
        count = ledger.drop_dead_letters(connection, None if every else letters)
    console.print(f"{count} dropped.")


def _letters(ledger: Ledger, connection: Connection, ids: Sequence[int]) -> list[LedgerRow]:
    rows = ledger.dead_letters(connection, ids)
    missing = sorted(set(ids) - {row["id"] for row in rows})
    if missing:
        raise LadleError(f"no dead letter {missing[0]}: `ladle dead list` shows the newest")
    return rows


def _jobs(row: LedgerRow) -> str:
    jobs = jobs_of(row)
    return f"{len(jobs)} jobs" if len(jobs) > 1 else "".join(jobs)
