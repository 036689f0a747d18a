"""`ladle site`: writes the definitions that join a site to a hub, and says how to import and how to remove them."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from broker_config.rabbitmq.definitions import consumer_timeout_ms
from broker_config.rabbitmq.site import (
    FRAME_BYTES,
    UP,
    Site,
    hub_definitions,
    link_definitions,
    site_definitions,
    site_news_queue,
    site_queue,
)
from broker_config.rabbitmq.users import new_password
from broker_config.rights import Role, user_of
from broker_config.settings import load_settings

SHOVEL_PLUGIN = "rabbitmq_shovel"
SECRET_MODE = 0o600  # the files hold passwords


@click.group("site")
def command() -> None:
    """Join a site that has a RabbitMQ of its own to the hub.

    The planner runs at the hub; docs/sites.md explains it.
    """


@command.command(short_help="Write the definitions that join a site.")
@click.argument("name")
@click.option("--node", "nodes", multiple=True, required=True, help="Name of a node of the site; repeat for each.")
@click.option("--hub-url", required=True, help="The hub's broker as the site reaches it: amqps://HOST/VHOST.")
@click.option("--site-url", required=True, help="The site's broker as its workers reach it: amqp://HOST/VHOST.")
@click.option("--out", default=Path(), type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
def add(name: str, nodes: tuple[str, ...], hub_url: str, site_url: str, out: Path) -> None:
    """Write RabbitMQ definitions for the hub and for the site NAME: users, rights, queues, policies, shovels.

    \b
    ladle site add berlin --node berlin-1 --node berlin-2 \\
        --hub-url 'amqps://hub.example:5671/ladle?cacertfile=/etc/rabbitmq/ca.pem&verify=verify_peer' \\
        --site-url amqp://broker.berlin.example/ladle

    Nothing is applied from here; what to do is printed. With another --node in the same folder it writes the files
    again and keeps the passwords that are there. Limits are those of `ladle broker`.
    """
    settings = load_settings()
    site = Site(name=name, nodes=nodes, hub_url=hub_url, site_url=site_url)
    urls = out / f"{name}-urls.json"
    passwords = {user_of(*owner): new_password() for owner in site.owners} | _passwords(urls)
    of_broker = site_definitions(settings, site, passwords)
    files = {
        out / f"hub-{name}.json": hub_definitions(settings, site, passwords),
        out / f"queues-{name}.json": of_broker,
        out / f"site-{name}.json": of_broker | link_definitions(site, passwords),
        urls: {user_of(*owner): site.url(*owner, passwords) for owner in site.owners},
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            _write_secret(path, content)
    except OSError as exc:
        raise click.ClickException(f"cannot write {exc.filename or out}: {exc.strerror}") from exc
    hub, queues, of_site, whose = (shlex.quote(str(path)) for path in files)
    click.echo(f"""\
# On the hub's broker, which `ladle broker` has prepared; in its rabbitmq.conf: frame_max = {FRAME_BYTES}
# Without that, one message with large headers stops the link for ever.
rabbitmqctl import_definitions {hub}
# On the site's broker; in its rabbitmq.conf: consumer_timeout = {consumer_timeout_ms(settings)}
# and a max_message_size no higher than the hub's, whose default is 134217728 on RabbitMQ 3 and 16777216 since 4.0
rabbitmq-plugins enable {SHOVEL_PLUGIN}
rabbitmqctl import_definitions {queues}        # first: a shovel without its queue makes a wrong one
rabbitmqctl import_definitions {of_site}
rabbitmqctl shovel_status        # six of them, all running
# On each node, and where the site's clients are, with LADLE_BROKER_URL set to what {whose} says for
# {", ".join(user_of(*owner) for owner in site.owners[1:])}:
ladle worker --node {nodes[0]}
ladle submit "a red heart"
# The four files hold secrets, and only you can read them. Keep the last one for the next `ladle site add {name}`.""")


@command.command(short_help="Print how to take a site off its hub.")
@click.argument("name")
@click.option("--hub-vhost", default="/", show_default=True, help="Virtual host of the hub.")
@click.option("--site-vhost", default="/", show_default=True, help="Virtual host of the site.")
def remove(name: str, hub_vhost: str, site_vhost: str) -> None:
    """Print how to take the site NAME off its hub: nothing is lost, and its broker stays.

    \b
    ladle site remove berlin --hub-vhost ladle --site-vhost ladle
    """
    link, arriving, news = user_of(Role.LINK, name), site_queue(name), site_news_queue(name)
    shovels = [*UP, arriving, news]
    lines = [
        "# Where the planner runs, for each node of the site, so that it finishes what it holds:",
        "ladle drain NODE",
        f"# On the site's broker, once its queues {', '.join(UP)} are empty:",
        *(shlex.join(["rabbitmqctl", "delete_shovel", "--vhost", site_vhost, shovel]) for shovel in shovels),
        "# On the hub's broker:",
        shlex.join(["rabbitmqctl", "delete_user", link]),
        *(shlex.join(["rabbitmqctl", "delete_queue", "--vhost", hub_vhost, queue]) for queue in (arriving, news)),
    ]
    click.echo("\n".join(lines))


def _passwords(urls: Path) -> dict[str, str]:
    """Return the passwords of an earlier run by user; none if there was none."""
    try:
        found = json.loads(urls.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise click.ClickException(f"cannot read the passwords in {urls} ({exc}): mend it, or remove it") from exc
    return {user: unquote(urlsplit(url).password or "") for user, url in found.items()}


def _write_secret(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET_MODE), "w") as file:
        os.fchmod(file.fileno(), SECRET_MODE)  # an existing file would keep its mode
        file.write(json.dumps(content, indent=2) + "\n")
