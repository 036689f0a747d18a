"""Users of RabbitMQ with the rights of their role: as definitions to import, and as a URL to hand over.

The definitions hold the hash of a password, never the password itself; whoever makes a user shows it once.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from kombu.entity import Queue

from broker_config.rabbitmq.definitions import QUEUES, structure
from broker_config.rights import Role, rights, user_of
from broker_config.topology import control_queue, node_queue

PASSWORD_BYTES = 24
SALT_BYTES = 4  # what RabbitMQ expects


def new_password() -> str:
    """Return a random password; no URL and no shell needs quotes around it."""
    return secrets.token_hex(PASSWORD_BYTES)


def password_hash(password: str) -> str:
    """Return the salted SHA-256 that RabbitMQ stores, as base64.

    Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
    """
    salt = secrets.token_bytes(SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def own_queues(role: Role, name: str) -> tuple[Queue, ...]:
    """Return the queues that exist for the sake of this user alone; they come and go with it."""
    return (node_queue(name), control_queue(name)) if role is Role.NODE else ()


def definitions(role: Role, name: str, password: str, vhost: str, nodes: Sequence[str] = ()) -> dict[str, Any]:
    """Return a user with its permissions, and all it must find in `vhost`, as RabbitMQ imports them.

    Imported again, they give the user a new password; queues stay as they are.

    Raises:
        ConfigurationError: a name cannot be one, or a link stands for no node.
    """
    user, granted = user_of(role, name), rights(role, name, nodes)
    where = {"user": user, "vhost": vhost}
    return {
        "users": [
            {
                "name": user,
                "password_hash": password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
        ],
        "permissions": [
            {**where, "configure": granted.configure, "write": granted.write, "read": granted.read},
        ],
        "topic_permissions": [
            {**where, "exchange": topic.exchange, "write": topic.write, "read": topic.read} for topic in granted.topics
        ],
        **structure(vhost, (*QUEUES, *own_queues(role, name))),
    }


def url_for(broker_url: str, role: Role, name: str, password: str, address: str = "") -> str:
    """Return the broker's URL for a user; `address` (host, or host:port) if it reaches the broker by another one."""
    broker = urlsplit(broker_url)
    host = broker.netloc.rpartition("@")[2]
    if address:
        host = address if ":" in address or broker.port is None else f"{address}:{broker.port}"
    return f"{broker.scheme}://{user_of(role, name)}:{quote(password, safe='')}@{host}{broker.path}"
