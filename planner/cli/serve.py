"""`ladle serve` and `ladle key`: the HTTP gateway, and who may use it."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from broker_config.extras import check_installed
from broker_config.settings import Settings, environment, load_settings
from planner.cli.processes import replace_this_process, serve_command
from planner.cli.terminal import plain
from planner.gateway.keys import is_loopback, key_file

console = Console()
EVERYWHERE = ("0.0.0.0", "::")


@click.command()
@click.option("--host", "http_host", help="Address to listen on.  [LADLE_HTTP_HOST]")
@click.option("--port", "http_port", type=int, help="Port to listen on.  [LADLE_HTTP_PORT]")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes side by side.")
def serve(processes: int, **options: object) -> None:
    """Serve browsers and image clients over HTTP: OpenAI's API and more.

    It needs the broker only. Without API keys it serves this machine alone; `ladle key add NAME` makes a key.

    \b
    ladle serve
    curl localhost:8420/v1/images/generations --json '{"prompt": "a red heart"}'
    The plain command is the same:
    uvicorn --factory --no-access-log --port 8420 planner.gateway.app:gateway
    """
    check_installed("serve", "`ladle serve`")
    changes = {name: value for name, value in options.items() if value is not None}
    settings = load_settings().with_changes(**changes)
    click.echo(how_it_is_served(settings))
    sys.stdout.flush()  # nothing of this process is left in a moment
    from planner.gateway.metrics import shared_by_processes  # needs what was just checked

    variables = environment(settings) | shared_by_processes(settings, processes)
    replace_this_process(serve_command(settings, processes), variables)


def address(settings: Settings) -> str:
    """Return the URL of the gateway, for somebody on this machine."""
    host = settings.http_host
    if host in EVERYWHERE or is_loopback(host):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def page_address(settings: Settings) -> str:
    """Return the URL of the page, for somebody on this machine."""
    return f"{address(settings)}/"


def how_it_is_served(settings: Settings) -> str:
    """Say where the gateway is and who may use it.

    Raises:
        ConfigurationError: the file of keys cannot be read.
    """
    names = [owner.name for owner in key_file(settings).owners()]
    if settings.http_keys == "never":
        who = "whoever reaches it, without a key"
    elif names:
        who = f"the keys of {', '.join(names)}"
    elif settings.http_keys == "auto" and is_loopback(settings.http_host):
        who = "this machine, without a key"
    else:
        who = "nobody yet: `ladle key add NAME` makes a key"
    where = f"The page: {page_address(settings)} (OpenAI's base URL: {address(settings)}/v1)"
    return f"{where}, for {who}."


@click.group()
def key() -> None:
    """API keys of the HTTP gateway.

    Each key is an owner: it sees its own jobs only, and has its own fair share. A change is effective at once.
    """


@key.command("add")
@click.argument("name")
@click.option("--may-high", is_flag=True, help="Its jobs may have priority high.")
@click.option("--may-operate", is_flag=True, help="Everybody's jobs, nodes, policy and dead letters on the page.")
def add(name: str, may_high: bool, may_operate: bool) -> None:
    """Make a key for NAME and print it, once: only its hash is kept."""
    click.echo(key_file(load_settings()).add(name, may_high=may_high, may_operate=may_operate))


@key.command("list")
def list_keys() -> None:
    """Show whose keys there are."""
    owners = key_file(load_settings()).owners()
    for owner in owners:
        rights = ["may ask for priority high"] * owner.may_high + ["may operate"] * owner.may_operate
        console.print(plain("  ".join([owner.name, *rights])))
    if not owners:
        console.print("There is no key. `ladle key add NAME` makes one.")


@key.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Make the key of NAME useless, at once. Its jobs go on."""
    key_file(load_settings()).remove(name)
    console.print(plain(f"The key of {name} is gone."))
