"""`ladle node` and `ladle user`: users of RabbitMQ with no more rights than they need."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import click

from broker_config.app import make_app
from broker_config.calls import Remove
from broker_config.errors import ConfigurationError
from broker_config.publisher import Publisher
from broker_config.rabbitmq.definitions import vhost_of
from broker_config.rabbitmq.management import Management, management_url
from broker_config.rabbitmq.users import definitions, new_password, own_queues, url_for
from broker_config.rights import Role, user_of
from broker_config.settings import Settings, load_settings
from broker_config.tls import tls_context
from broker_config.topology import ADMIN_QUEUE, check_node_name

COMMANDS = {
    Role.PLANNER: "ladle planner",
    Role.CLIENT: 'ladle submit "a red heart" --out heart.png',
    Role.TRAINER: "celery -A rl_agent worker -Q train -P threads -c 1 -B",
    Role.NODE: "ladle worker --node {name}",
}
PEOPLE = (Role.PLANNER, Role.CLIENT, Role.TRAINER)  # links are made by `ladle site`, nodes by `ladle node`

Command = Callable[..., Any]


def _where(command: Command) -> Command:
    """Add the options that say how RabbitMQ is reached."""
    for option in (
        click.option("--print", "only_print", is_flag=True, help="Change nothing; print commands for rabbitmqctl."),
        click.option(
            "--management-url",
            help="RabbitMQ's API: http://administrator:password@host:15672.  [LADLE_MANAGEMENT_URL]",
        ),
    ):
        command = option(command)
    return command


_address = click.option(
    "--address", default="", help="Host, or host:port, by which it reaches the broker; default: of LADLE_BROKER_URL."
)


@click.group("node")
def node() -> None:
    """Give a machine the rights of a node, or revoke them.

    `ladle nodes` shows all nodes.
    """


@node.command("add")
@click.argument("name")
@_address
@_where
def add_node(name: str, address: str, management_url: str | None, only_print: bool) -> None:
    """Make a user for the node NAME, and its queue.

    Prints the command to run on that machine.

    The user reads the node's own queue and answers in the node's name; it can do nothing else. Its password is shown
    only once and stored nowhere. Run the command again for a new password.

    \b
    ladle node add attic
    ladle node add attic --address broker.example:5671
    """
    _add(Role.NODE, name, address, management_url, only_print)


@node.command("remove")
@click.argument("name")
@_where
def remove_node(name: str, management_url: str | None, only_print: bool) -> None:
    """Revoke the node NAME; its jobs go to other nodes.

    Its user, connections and queue are deleted.

    The job that it runs is lost and made again elsewhere; `ladle drain NAME` first lets it finish.
    """
    settings, vhost = _settings()
    queues = [queue.name for queue in own_queues(Role.NODE, check_node_name(name))]
    if only_print:
        click.echo(shlex.join(["rabbitmqctl", "delete_user", user_of(Role.NODE, name)]))
        for queue in queues:
            click.echo(shlex.join(["rabbitmqctl", "delete_queue", "--vhost", vhost, queue]))
        return
    management = _management(settings, management_url)
    was_there = management.delete_user(user_of(Role.NODE, name))  # first: from here on it answers nothing
    _tell_planner(settings, name)
    for queue in queues:
        management.delete_queue(vhost, queue)
    click.echo(f"{_gone(Role.NODE, name, was_there)} Its queue is deleted; its jobs go to other nodes.", err=True)


@click.group("user")
def user() -> None:
    """Make or delete users for planner, clients and trainer.

    Each has the rights of its role only.
    """


@user.command("add")
@click.argument("role", type=click.Choice([str(role) for role in PEOPLE]))
@click.argument("name")
@_address
@_where
def add_user(role: str, name: str, address: str, management_url: str | None, only_print: bool) -> None:
    """Make the user ROLE.NAME and print a command that uses it.

    Its password is shown only once and stored nowhere. Run the command again for a new password. For nodes, use
    `ladle node add`.

    \b
    ladle user add planner main
    ladle user add client alice --address broker.example:5671
    """
    _add(Role(role), name, address, management_url, only_print)


@user.command("remove")
@click.argument("role", type=click.Choice([str(role) for role in PEOPLE]))
@click.argument("name")
@_where
def remove_user(role: str, name: str, management_url: str | None, only_print: bool) -> None:
    """Delete the user ROLE.NAME and close its connections.

    Jobs it has submitted go on.
    """
    settings, _ = _settings()
    whom = user_of(Role(role), name)
    if only_print:
        click.echo(shlex.join(["rabbitmqctl", "delete_user", whom]))
        return
    was_there = _management(settings, management_url).delete_user(whom)
    click.echo(_gone(Role(role), name, was_there), err=True)


def _add(role: Role, name: str, address: str, management_url: str | None, only_print: bool) -> None:
    settings, vhost = _settings()
    password = new_password()
    defined = definitions(role, name, password, vhost)
    if only_print:
        click.echo(f"rabbitmqctl import_definitions <<'END'\n{json.dumps(defined, indent=1)}\nEND")
        click.echo("# then, with this password, which is shown only once:")
    else:
        _management(settings, management_url).import_definitions(defined)
        click.echo(f"User {user_of(role, name)} is made. Run this there; the password is shown only once:", err=True)
    url = url_for(settings.broker_url, role, name, password, address)
    click.echo(f"LADLE_BROKER_URL={shlex.quote(url)} {COMMANDS[role].format(name=name)}")


def _settings() -> tuple[Settings, str]:
    """Return settings and virtual host, if there is a RabbitMQ at all."""
    settings = load_settings()
    if settings.is_embedded:
        raise ConfigurationError(
            "LADLE_BROKER_URL: names no RabbitMQ, and the embedded broker has no users: anyone who can open its file "
            "may do anything"
        )
    return settings, vhost_of(settings.broker_url)


def _management(settings: Settings, url: str | None) -> Management:
    settings = settings.with_changes(management_url=url) if url else settings
    return Management(settings.management_url or management_url(settings.broker_url), tls_context(settings))


def _tell_planner(settings: Settings, name: str) -> None:
    app = make_app("ladle-node", settings, queues=[ADMIN_QUEUE], include=[])
    publisher = Publisher(app, confirm_timeout_s=settings.confirm_timeout_s)
    try:
        publisher.publish([Remove(name).post()])
    finally:
        publisher.close()


def _gone(role: Role, name: str, was_there: bool) -> str:
    whom = user_of(role, name)
    return f"User {whom} is deleted and its connections are closed." if was_there else f"There was no user {whom}."
