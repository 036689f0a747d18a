"""The group of all commands: those of this package, and those that other packages register.

A package adds a command by an entry point in the group `ladle.commands`. A command is imported only when it is called:
`ladle jobs` does not load torch, and `ladle --help` nothing of Ladle's but this module. The summaries that it lists are
read from the sources.
"""

from __future__ import annotations

import ast
import logging
import platform
import sys
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from typing import Any

import click
from click.shell_completion import CompletionItem
from click_didyoumean import DYMMixin

from broker_config.errors import LadleError, NotInstalledError
from broker_config.extras import describe_extras, extra_with
from broker_config.foreign_text import visible
from broker_config.log_records import make_log_unforgeable

GROUP = "ladle.commands"
OWN_COMMANDS = {
    "bench": "planner.cli.bench.command:command",
    "cancel": "planner.cli.jobs:cancel",
    "dead": "planner.cli.dead:command",
    "demo": "planner.cli.demo:command",
    "drain": "planner.cli.nodes:drain",
    "experience": "planner.cli.experience:command",
    "fetch": "planner.cli.submit:fetch",
    "jobs": "planner.cli.jobs:jobs",
    "key": "planner.cli.serve:key",
    "node": "planner.cli.users:node",
    "nodes": "planner.cli.nodes:nodes",
    "pause": "planner.cli.nodes:pause",
    "planner": "planner.cli.services:planner",
    "policy": "planner.cli.policy:command",
    "report": "planner.cli.report.command:command",
    "resume": "planner.cli.nodes:resume",
    "retrain": "planner.cli.retrain:command",
    "serve": "planner.cli.serve:serve",
    "submit": "planner.cli.submit:command",
    "up": "planner.cli.services:up",
    "user": "planner.cli.users:user",
    "worker": "planner.cli.services:worker",
}


MAX_SUMMARY_CHARACTERS = 66  # what 80 columns leave beside the longest name


class LazyGroup(DYMMixin, click.Group):
    """A group whose commands are imported when they are used.

    Source: https://click.palletsprojects.com/en/stable/complex/ (lazily loading subcommands)
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, sorted."""
        return sorted(_entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = _entries().get(cmd_name)
        if entry is None:
            return None
        try:
            return _command(entry)
        except ModuleNotFoundError as exc:
            return _unavailable(cmd_name, exc)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List all names with their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(entry)) for name, entry in sorted(_entries().items())])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so, with their summaries, and the options."""
        found = [entry for name, entry in sorted(_entries().items()) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(entry.name, help=_summary(entry)) for entry in found), *options]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of Ladle's is one sentence, not a traceback."""
        try:
            return super().invoke(ctx)
        except LadleError as exc:
            raise click.ClickException(visible(str(exc))) from exc
        except ModuleNotFoundError as exc:
            raise click.ClickException(_not_installed(f"`ladle {ctx.invoked_subcommand}`", exc)) from exc


def _entries() -> dict[str, EntryPoint]:
    """Return where each command is."""
    own = [EntryPoint(name, place, GROUP) for name, place in OWN_COMMANDS.items()]
    return {entry.name: entry for entry in (*entry_points(group=GROUP), *own)}


def _command(entry: EntryPoint) -> click.Command:
    loaded = entry.load()
    if not isinstance(loaded, click.Command):
        raise TypeError(f"{loaded!r} is not a click command")
    return loaded


def _summary(entry: EntryPoint) -> str:
    """Return the first sentence of what a command says of itself."""
    try:
        text = _docstring(entry) or _command(entry).help
    except ModuleNotFoundError as exc:
        text = _not_installed(f"`ladle {entry.name}`", exc)
    return click.Command(entry.name, help=text).get_short_help_str(MAX_SUMMARY_CHARACTERS)


def _docstring(entry: EntryPoint) -> str | None:
    """Return the docstring of a command's function, from the source; None where that is not there.

    To import all commands for their summaries would take a second.
    """
    spec = find_spec(entry.module)
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return None
    definitions = ast.parse(spec.loader.get_source(entry.module) or "").body
    found = [node for node in definitions if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    return ast.get_docstring(found[0]) if found else None


def _not_installed(what: str, exc: ModuleNotFoundError) -> str:
    module = (exc.name or "").split(".", 1)[0]
    return str(NotInstalledError(what, [module], extra_with(module)))


def _unavailable(name: str, exc: ModuleNotFoundError) -> click.Command:
    reason = _not_installed(f"`ladle {name}`", exc)

    @click.command(name, help=f"Not installed: {reason}.", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1)
    def unavailable(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(reason)

    return unavailable


def _show_version(ctx: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Print the version; after --verbose, Python and what is installed of every extra as well."""
    if not is_asked or ctx.resilient_parsing:
        return
    click.echo(f"ladle, version {version('ladle')}")
    if ctx.params.get("verbose"):
        click.echo(f"Python {platform.python_version()}, {sys.platform}\n" + "\n".join(describe_extras()))
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-v", "--verbose", is_flag=True, is_eager=True, help="Show what the libraries log, too.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit; with --verbose, what is installed of each extra.",
)
def main(verbose: bool) -> None:
    """Text-to-image jobs on heterogeneous GPUs: one queue per node, placed by a learned policy.

    \b
    Try it:               ladle demo
    On one machine:       ladle up --nodes 3     then, in another terminal:
                          ladle submit "a red heart" --out heart.png
    On several machines:  export LADLE_BROKER_URL=amqp://user:password@host//
                          ladle planner          on one of them
                          ladle worker --node NAME --device cuda:0     on each GPU

    Settings are LADLE_* variables; docs/operations.md lists them.
    """
    from rich.console import Console  # for a command that runs, not for the help
    from rich.logging import RichHandler

    make_log_unforgeable()
    level = logging.INFO if verbose else logging.WARNING
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
