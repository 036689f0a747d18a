"""`ladle jobs` and `ladle cancel`: show jobs, and cancel them."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.table import Table

from broker_config.errors import BrokerUnavailableError
from broker_config.messages import Delays, Event, EventKind, JobState, Priority
from planner.cli.submit import describe
from planner.cli.tables import STATE_STYLE, ago, job_table, moment, open_ledger, service_delay_s
from planner.cli.terminal import plain
from planner.client.base import ANSWER_TIMEOUT_S
from planner.client.client import Client, JobHandle
from planner.client.request import PRIORITIES, PriorityName, check_job_id, labels_of
from planner.errors import JobFailedError, JobUnknownError, PlannerSilentError, ResultTimeoutError
from planner.ledger.ledger import LedgerRow

console = Console()

PATIENCE_S = 3.0  # a planner that runs answers within a turn; without one the ledger is shown


@click.command()
@click.argument("job", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many of the newest jobs.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in JobState], case_sensitive=False),
    help="Only jobs in this state; may be repeated.",
)
@click.option("--owner", help="Only jobs of this broker user, or site; of client.alice: alice.")
@click.option("--label", "labels", multiple=True, help="Only jobs with this label, NAME=VALUE; may be repeated.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Move JOB, which must be WAITING, to this class.")
def jobs(
    job: str | None,
    limit: int,
    states: tuple[str, ...],
    owner: str | None,
    labels: tuple[str, ...],
    priority: PriorityName | None,
) -> None:
    """Show the newest jobs, or everything about one JOB.

    With --priority, change that of a JOB that waits.
    """
    if priority is not None:
        if job is None:
            raise click.UsageError("--priority is of one job: name it, as in `ladle jobs JOB --priority high`")
        _move(check_job_id(job), priority)
        return
    with open_ledger() as ledger:
        if job is None:
            with ledger.transaction(reads=True) as connection:
                recent = ledger.recent_jobs(connection, limit, states, owner, labels=labels_of(labels))
                counts = ledger.count_by_state(connection)
            console.print(job_table(recent, console.width), crop=False)
            totals = "  ".join(f"{state} {count}" for state, count in sorted(counts.items()))
            console.print(totals or "No jobs yet.")
            return
        with ledger.transaction(reads=True) as connection:
            row, attempts = ledger.jobs(connection, [job]).get(job), ledger.attempts_of(connection, job)
    if row is None:
        raise click.ClickException(f"no job {job!r} in the ledger: `ladle jobs` lists the newest")
    _show(row, attempts)


def _move(job: str, priority: PriorityName) -> None:
    """Change the priority of a job; this needs the broker only."""
    with Client() as client:
        said = client.handle(job).set_priority(priority)
    console.print(plain(f"{job}: {describe(said)}"))


def _show(row: LedgerRow, attempts: list[LedgerRow]) -> None:
    state = JobState(row["state"])
    facts = Table(show_header=False, box=None)
    facts.add_row("job", plain(row["id"]))
    facts.add_row("state", plain(state, STATE_STYLE[state]))
    if not state.is_terminal:
        for name, text in where_it_is(row["id"]):
            facts.add_row(name, plain(text))
    facts.add_row("submitted", ago(row["created_at"]))
    facts.add_row("client", plain(row["client"]))
    facts.add_row("priority", Priority(row["priority"]).name.lower())
    if row["deadline_at"] is not None:
        facts.add_row("deadline", moment(row["deadline_at"]))
    for name, value in (row["labels"] or {}).items():
        facts.add_row("label", plain(f"{name}={value}"))
    if row["ingress"] is not None:
        facts.add_row("ingress", plain(row["ingress"]))
    for name, value in row["request"].items():
        facts.add_row(name, plain(str(value)[:100]))
    if row["failure"]:
        facts.add_row("failure", plain(f"{row['failure']['kind']}: {row['failure']['message']}"))
    delay_s = service_delay_s(row)
    if delay_s is not None:
        parts = ", ".join(f"{name.removesuffix('_s')} {row[name]:.3f}" for name in Delays.model_fields)
        facts.add_row("service delay", f"{delay_s:.3f} s ({parts})")
    for image in row["images"] or ():
        facts.add_row("image", plain(f"{image['url']} (seed {image['seed']})"))
    if state is JobState.DONE:
        facts.add_row("fetch", plain(f"ladle fetch {row['id']} --out FILE"))
    console.print(facts)
    table = Table("attempt", "node", "placed", "result", "placer", "predicted p50 / p90", "why", title="Attempts")
    for attempt in attempts:
        failure = attempt["failure"] or {}
        table.add_row(
            str(attempt["number"]),
            plain(attempt["node"]),
            ago(attempt["created_at"]),
            plain(attempt["result"] or state),
            attempt["placer"],
            f"{attempt['eta_p50_s']:.2f} / {attempt['eta_p90_s']:.2f} s",
            plain(failure.get("message", "")),
        )
    console.print(table)


def where_it_is(job: str, patience_s: float = PATIENCE_S) -> list[tuple[str, str]]:
    """Return what the planner says of an open job, as pairs of name and text, or why nothing was heard of it."""
    try:
        with Client() as client:
            said = client.handle(job).status(patience_s)
    except (BrokerUnavailableError, PlannerSilentError) as exc:
        return [("now", f"as the ledger says; {exc}")]
    facts = [("now", f"it ended meanwhile: {said.kind}" if said.kind is not EventKind.STATUS else describe(said))]
    if said.image_steps:
        facts.append(("image step", f"{said.step} of {said.image_steps}"))
    if said.running_s is not None:
        facts.append(("started", ago(time.time() - said.running_s)))
    return facts


@click.command()
@click.argument("jobs", nargs=-1, required=True)
def cancel(jobs: tuple[str, ...]) -> None:
    """Cancel JOBS that have not ended.

    A waiting one ends at once, a running one at its next image step; a finished one does not change.
    """
    ids = [check_job_id(job) for job in jobs]
    unknown = []
    with Client() as client:
        for job in ids:
            handle = client.handle(job)
            handle.cancel()
            end = end_of(handle)
            if end.kind is EventKind.UNKNOWN:
                unknown.append(end)
            else:
                hint = "; it ends after its current image step" if end.state is JobState.RUNNING else ""
                console.print(f"{job}: {end.state}{hint}")
    if unknown:
        raise JobUnknownError(", ".join(end.job for end in unknown), str(unknown[0].reason))


def end_of(handle: JobHandle, timeout_s: float = ANSWER_TIMEOUT_S) -> Event:
    """Return the event that ended a cancelled job, or its status if its image step outlasts `timeout_s`.

    It may have ended in another way before.

    Raises:
        PlannerSilentError: no planner answered.
    """
    handle.status(timeout_s)  # without a planner there is no end to wait for
    try:
        handle.result(timeout_s)
    except ResultTimeoutError:
        return handle.status(timeout_s)
    except JobFailedError:
        pass  # it is cancelled, as asked
    return handle.status()
