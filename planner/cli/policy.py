"""`ladle policy`: the versions of the learned policy, and which of them decides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from broker_config.settings import load_settings
from planner.cli.tables import ago, open_ledger
from planner.cli.terminal import plain
from rl_agent.errors import PolicyFileError
from rl_agent.policy import registry
from rl_agent.policy.file import load_policy, parse_policy, read_policy, write_policy
from rl_agent.policy.learned_placer import shipped_policy
from rl_agent.policy.registry import PolicyState

console = Console()

STYLE = {
    PolicyState.PROMOTED: "green",
    PolicyState.CANARY: "yellow",
    PolicyState.SHADOW: "cyan",
    PolicyState.REJECTED: "red",
}


@click.group()
def command() -> None:
    """Show and choose the versions of the learned policy.

    The planner picks up a change within a second; no job is lost or decided twice.
    """


@command.command("list")
def list_versions() -> None:
    """List all versions, newest first, and the policy of the settings.

    By default that is the one that ships with Ladle.
    """
    with _database() as connection:
        rows = registry.policies(connection)
    has_promoted = any(row["state"] == PolicyState.PROMOTED for row in rows)
    table = Table("version", "state", "made", "promoted", "why", title="Policies", title_justify="left")
    for row in rows:
        state = row["state"] + (f" {row['share']:.0%}" if row["share"] else "")
        promoted = "" if row["promoted_at"] is None else ago(row["promoted_at"])
        style = STYLE.get(PolicyState(row["state"]), "dim")
        table.add_row(row["version"], plain(state, style), ago(row["created_at"]), promoted, plain(row["reason"]))
    version, why = _of_settings()
    state = plain("in reserve", "dim") if has_promoted else plain("serves", "green")
    table.add_row(plain(version), state, "", "", plain(why))
    console.print(table)
    if not has_promoted:
        console.print(plain(f"None is promoted: {version} decides where LADLE_PLACER=lad-ts."))


@command.command()
@click.argument("version")
def show(version: str) -> None:
    """Show the card of one version, and what the gate measured.

    Also of the one that ships with Ladle.
    """
    if version == _of_settings()[0]:
        folder = _folder_of_settings()
        card = json.loads(read_policy(folder).card)
        console.print_json(json.dumps({"version": version, "folder": str(folder), "card": card}))
        return
    with _database() as connection:
        row = dict(registry.policy(connection, version))
        parse_policy(version, registry.policy_files(connection, version))
    card = json.loads(row.pop("card"))
    console.print_json(json.dumps({**row, "card": card}))


def _folder_of_settings() -> Path:
    named = load_settings().policy
    return Path(named) if named else shipped_policy()


def _of_settings() -> tuple[str, str]:
    """Return the version of the policy that serves while none is promoted, and where it comes from."""
    folder = _folder_of_settings()
    why = "ships with Ladle" if folder == shipped_policy() else f"LADLE_POLICY is {folder}"
    try:
        return load_policy(folder).card.version, why
    except PolicyFileError as exc:
        return "?", f"{why}; cannot be served, earliest completion decides: {exc}"


@command.command()
@click.argument("version")
def promote(version: str) -> None:
    """Let VERSION decide from now on.

    The previous one is kept for a rollback.
    """
    with _database() as connection:
        parse_policy(version, registry.policy_files(connection, version))
        registry.promote(connection, version, time.time(), "promoted by hand")
    console.print(f"{version} is promoted.")


@command.command()
@click.option("--reason", default="rolled back by hand", show_default=True, help="Kept with the rejected version.")
def rollback(reason: str) -> None:
    """Reject the promoted version and return to the previous one."""
    with _database() as connection:
        rejected, serving = registry.rollback(connection, time.time(), reason)
    console.print(f"{rejected} is rejected; {serving or 'the policy of the settings'} decides.")


@command.command()
@click.argument("version", required=False)
@click.option("--off", is_flag=True, help="End the shadow.")
def shadow(version: str | None, off: bool) -> None:
    """Log with each decision what VERSION would have chosen."""
    _try_out(version, off, PolicyState.SHADOW, 0.0)


@command.command()
@click.argument("version", required=False)
@click.option("--share", default=0.1, show_default=True, type=click.FloatRange(0.0, 1.0), help="Of the jobs.")
@click.option("--off", is_flag=True, help="End the canary.")
def canary(version: str | None, share: float, off: bool) -> None:
    """Let VERSION decide about a share of the jobs."""
    _try_out(version, off, PolicyState.CANARY, share)


@command.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def add(folder: Path) -> None:
    """Take a policy folder into the ledger, as a candidate.

    The folder holds policy.json and policy.safetensors.
    """
    with _database() as connection:
        version = registry.add_policy(connection, read_policy(folder), time.time(), reason="added by hand")
    console.print(f"{version} is a candidate: `ladle policy shadow`, `canary` or `promote` it.")


@command.command()
@click.argument("version")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
def export(version: str, out: Path) -> None:
    """Write VERSION as a policy folder."""
    with _database() as connection:
        files = registry.policy_files(connection, version)
    parse_policy(version, files)
    write_policy(out, files)
    console.print(plain(f"{version} written to {out}."))


def _try_out(version: str | None, off: bool, state: PolicyState, share: float) -> None:
    if off == (version is not None):
        raise click.UsageError("give a VERSION, or --off")
    with _database() as connection:
        if version is None:
            registry.stop_trial(connection, state)
        else:
            parse_policy(version, registry.policy_files(connection, version))
            registry.try_out(connection, version, state, share)
    console.print(f"No {state.lower()}." if version is None else f"{version} is the {state.lower()}.")


@contextmanager
def _database() -> Iterator[Connection]:
    with open_ledger() as ledger:
        ledger.migrate()
        with ledger.transaction() as connection:
            yield connection
