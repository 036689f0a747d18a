"""A site with a broker of its own, joined to a hub: what the two brokers must hold, as RabbitMQ definitions.

The planner is at the hub. For a site's workers and clients the link takes its place: six dynamic shovels, all defined
on the site's broker, which dials out, carry their messages to the planner and its messages to them.

    from   queue               what                                       to
    site   planner             submit, cancel, reconcile of its clients   hub, ladle.jobs
    site   outcomes            results of its nodes                       hub, ladle.outcomes
    site   dead                what its queues gave up                    hub, ladle.dead
    site   hub.news            reports and progress of its nodes          hub, ladle.outcomes and ladle.events
    hub    site.<name>         assignments of its nodes                   site, ladle.nodes
    hub    site.<name>.news    withdrawals; events for its clients        site, ladle.control and ladle.events

A shovel with neither exchange nor queue as its destination keeps exchange and routing key. News may be lost and is
worthless a minute later; it has queues of its own, so that after a long cut no backlog of it delays results.

A shovel never gets past a message that the other side refuses. So each queue is bound to keys that `rights` allows the
link, and what dies in queue `planner` has a key that no client chose (`definitions`). The hub must take larger headers
than the site (`FRAME_BYTES`). Requests go to `ladle.jobs` whatever exchange and key led them into the queue: a client
may bind an exchange of its own to the site's `ladle.jobs`. And the two properties that one broker takes and another
refuses are overwritten on the way: a sender's own `user_id`, and a delivery mode other than 1 and 2, which RabbitMQ 4
takes and 3.10 does not. The tag "impersonator" would let a user name pass as well, but then the link could name any
user of the hub.

Leaves out how the definitions reach the brokers (`site_command`). Source: https://www.rabbitmq.com/docs/shovel-dynamic,
https://www.rabbitmq.com/docs/validated-user-id
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import quote, urlsplit, urlunsplit

from kombu.entity import Queue, binding

from broker_config.errors import ConfigurationError, without_password
from broker_config.messages import Outcome
from broker_config.rabbitmq import users
from broker_config.rabbitmq.definitions import QUEUES, definitions, vhost_of
from broker_config.rights import CLIENT_REQUESTS, Role, user_of
from broker_config.settings import Settings
from broker_config.topology import (
    CONTROL,
    DEAD_QUEUE,
    EVENTS,
    JOBS,
    NODES,
    OUTCOMES,
    OUTCOMES_QUEUE,
    PLANNER_QUEUE,
    QUORUM,
    check_node_name,
    control_queue,
    node_key,
    node_queue,
    outcome_key,
    progress_key,
)

HUB_NEWS = "hub.news"
UP = (PLANNER_QUEUE.name, OUTCOMES_QUEUE.name, DEAD_QUEUE.name, HUB_NEWS)
RESULTS = get_args(Outcome.model_fields["result"].annotation)
LINK_HEARTBEAT_S = 5  # a link that carries nothing is noticed after two or three of these
CONNECT_TIMEOUT_MS = 10_000
RECONNECT_S = 2
PERSISTENT = 2  # AMQP's delivery mode of a message that outlives its broker
FRAME_BYTES = 2**27
"""Largest frame that a hub should take: a message's headers are one frame, and the link adds to them. At a site they
are as large as a frame, by default 128 KiB; over AMQP 1.0, which RabbitMQ 4 takes too, as a message, up to 16 MiB."""
IN_FLIGHT = 64  # what a cut link may deliver twice; enough for 600 messages/s at 0.1 s there and back


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site as `ladle site add` describes it.

    Attributes:
        name: of the site, and of its clients' user.
        nodes: names of its nodes, unlike any other's at the hub.
        hub_url: AMQP URL of the hub's virtual host as the site's broker dials it, without a user.
        site_url: AMQP URL of the site's virtual host as its workers and clients dial it, without a user.
    """

    name: str
    nodes: tuple[str, ...]
    hub_url: str
    site_url: str

    def __post_init__(self) -> None:
        """Check names and URLs.

        Raises:
            ConfigurationError: one of them cannot be used; the message says which.
        """
        for name in (self.name, *self.nodes):
            check_node_name(name)
        if not self.nodes or len(set(self.nodes)) < len(self.nodes):
            raise ConfigurationError(f"nodes of site {self.name}: name each one once, not {', '.join(self.nodes)!r}")
        for url in (self.hub_url, self.site_url):
            parts = urlsplit(url)
            if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
                raise ConfigurationError(f"{without_password(url)!r} is not amqp://HOST/VHOST or amqps://HOST/VHOST")
            if parts.username or parts.password:
                raise ConfigurationError(f"{without_password(url)!r} names a user: leave it out, it is made here")

    @property
    def owners(self) -> tuple[tuple[Role, str], ...]:
        """Return role and name of each user: the link at the hub, then those of the site's own broker."""
        return (Role.LINK, self.name), *((Role.NODE, node) for node in self.nodes), (Role.CLIENT, self.name)

    def url(self, role: Role, name: str, passwords: Mapping[str, str]) -> str:
        """Return the broker URL of one of `owners`."""
        broker = self.hub_url if role is Role.LINK else self.site_url
        return users.url_for(broker, role, name, passwords[user_of(role, name)])


def site_queue(site: str) -> str:
    """Return the hub's queue of what must arrive at `site`."""
    return f"site.{site}"


def site_news_queue(site: str) -> str:
    """Return the hub's queue of what may be lost on the way to `site`."""
    return f"site.{site}.news"


def hub_definitions(settings: Settings, site: Site, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return what the hub's broker must hold for `site`, and what every broker of Ladle holds.

    Args:
        settings: limits, for the policies.
        site: whose link it is.
        passwords: by user.
    """
    arriving = [binding(NODES, node_key(node)) for node in site.nodes]
    news = [*(binding(CONTROL, node_key(node)) for node in site.nodes), binding(EVENTS, f"job.{site.name}.#")]
    queues = (
        *QUEUES,
        Queue(site_queue(site.name), bindings=arriving, queue_arguments=QUORUM, durable=True),
        Queue(site_news_queue(site.name), bindings=news, durable=True),
    )
    vhost = vhost_of(site.hub_url)
    return definitions(settings, vhost, queues) | _users(site, site.owners[:1], passwords, vhost)


def site_definitions(settings: Settings, site: Site, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return what the site's broker must hold before the link: queues, policies, users.

    Args:
        settings: limits, for the policies.
        site: whose broker it is.
        passwords: by user.
    """
    vhost = vhost_of(site.site_url)
    return {
        **definitions(settings, vhost, _site_queues(site)),
        **_users(site, site.owners[1:], passwords, vhost),
    }


def link_definitions(site: Site, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the shovels of the link, for the site's broker: its queues must be there before.

    RabbitMQ starts a shovel before it makes the queues of the same file. A shovel that misses its queue then makes one
    of its own: classic, without the policies of quorum queues.

    Args:
        site: whose link it is.
        passwords: by user; the link's is in the shovels, as clear text.
    """
    return {"parameters": list(_shovels(site, vhost_of(site.site_url), passwords))}


def _users(
    site: Site, owners: Sequence[tuple[Role, str]], passwords: Mapping[str, str], vhost: str
) -> dict[str, list[Any]]:
    each = [users.definitions(*owner, passwords[user_of(*owner)], vhost, site.nodes) for owner in owners]
    sections = ("users", "permissions", "topic_permissions")
    return {section: [entry for one in each for entry in one[section]] for section in sections}


def _site_queues(site: Site) -> tuple[Queue, ...]:
    requests = [binding(JOBS, request) for request in CLIENT_REQUESTS]
    results = [binding(OUTCOMES, outcome_key(node, result)) for node in site.nodes for result in RESULTS]
    reports = [binding(OUTCOMES, outcome_key(node, "report")) for node in site.nodes]
    progress = [binding(EVENTS, progress_key(node, "#")) for node in site.nodes]
    return (
        Queue(PLANNER_QUEUE.name, bindings=requests, queue_arguments=QUORUM, durable=True),
        Queue(OUTCOMES_QUEUE.name, bindings=results, queue_arguments=QUORUM, durable=True),
        DEAD_QUEUE,
        Queue(HUB_NEWS, bindings=[*reports, *progress], durable=True),
        *(node_queue(node) for node in site.nodes),
        *(control_queue(node) for node in site.nodes),
    )


def _shovels(site: Site, vhost: str, passwords: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the shovels as runtime parameters of the site's virtual host."""
    here = f"amqp:///{quote(vhost, safe='')}"  # without a host it is the broker itself, which needs no user
    hub = _link_url(site, passwords)
    routes = [(here, queue, hub) for queue in UP]
    routes += [(hub, queue, here) for queue in (site_queue(site.name), site_news_queue(site.name))]
    for source, queue, destination in routes:
        value = {
            "src-protocol": "amqp091",
            "src-uri": source,
            "src-queue": queue,
            "src-prefetch-count": IN_FLIGHT,
            "src-delete-after": "never",
            "dest-protocol": "amqp091",
            "dest-uri": destination,
            "dest-publish-properties": {"user_id": user_of(Role.LINK, site.name), "delivery_mode": PERSISTENT},
            "ack-mode": "on-confirm",
            "reconnect-delay": RECONNECT_S,
        }
        if queue == PLANNER_QUEUE.name:  # where clients may bind exchanges of their own, which the hub has not
            value["dest-exchange"] = JOBS.name
        yield {"component": "shovel", "vhost": vhost, "name": queue, "value": value}


def _link_url(site: Site, passwords: Mapping[str, str]) -> str:
    """Return the hub's URL with the link's user, and with how soon a shovel gives up on it.

    Source: https://www.rabbitmq.com/docs/uri-query-parameters
    """
    url = urlsplit(site.url(Role.LINK, site.name, passwords))
    asked = urlsplit(site.hub_url).query, f"heartbeat={LINK_HEARTBEAT_S}&connection_timeout={CONNECT_TIMEOUT_MS}"
    path = f"/{quote(vhost_of(site.hub_url), safe='')}"  # RabbitMQ reads host/ as a virtual host without a name
    return urlunsplit(url._replace(path=path, query="&".join(filter(None, asked))))
