"""What `ladle node add` and `ladle user add` put into RabbitMQ, and the URL they give away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from kombu.entity import Queue

from broker_config.credentials import user_definitions
from broker_config.rabbitmq import OWN_QUEUES, structure
from broker_config.rights import Role, rights, user_of
from broker_config.topology import control_queue, node_queue


def own_queues(role: Role, name: str) -> tuple[Queue, ...]:
    """Return the queues that exist for the sake of this user alone; they come and go with it."""
    return (node_queue(name), control_queue(name)) if role is Role.NODE else ()


def definitions(role: Role, name: str, password: str, vhost: str, nodes: Sequence[str] = ()) -> dict[str, Any]:
    """Return a user with its permissions, and all it must find in `vhost`, as RabbitMQ imports them.

    Imported again, they give the user a new password; queues stay as they are.

    Raises:
        ConfigurationError: a name cannot be one, or a link stands for no node.
    """
    user = user_of(role, name)
    users = user_definitions({user: rights(role, name, nodes)}, {user: password}, vhost)
    return users | structure(vhost, (*OWN_QUEUES, *own_queues(role, name)))


def url_for(broker_url: str, user: str, password: str, address: str = "") -> str:
    """Return the broker's URL for `user`; `address` (host, or host:port) if it reaches the broker by another one."""
    broker = urlsplit(broker_url)
    host = broker.netloc.rpartition("@")[2]
    if address:
        host = address if ":" in address or broker.port is None else f"{address}:{broker.port}"
    return f"{broker.scheme}://{user}:{quote(password, safe='')}@{host}{broker.path}"
