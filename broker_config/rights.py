"""What each user may do on RabbitMQ, as a pure function of role and name.

A user is called `<role>.<name>`. RabbitMQ grants `configure` (declare, delete), `write` (publish, bind a queue) and
`read` (consume, bind to an exchange) by patterns over the names of queues and exchanges, and on topic exchanges by
patterns over routing keys. A user without a pattern for a topic exchange may use all of its keys, so every topic
exchange that a role can reach has one here, apart from the planner's. `users` puts this into the broker;
docs/operations.md shows it as a table.

Source: https://www.rabbitmq.com/docs/access-control#authorisation, #topic-authorisation
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from broker_config.bounds import NODE_NAME
from broker_config.errors import ConfigurationError
from broker_config.topology import (
    ADMIN,
    ADMIN_QUEUE,
    CONTROL,
    DEAD,
    DEAD_QUEUE,
    EVENTS,
    JOBS,
    NODES,
    OUTCOMES,
    OUTCOMES_QUEUE,
    PLANNER_QUEUE,
    TRAIN,
    TRAIN_QUEUE,
    check_node_name,
)

NOTHING = "^$"
ANY = ".*"
CLIENT_REQUESTS = ("submit", "cancel", "set_priority", "reconcile")


class Role(StrEnum):
    """What a user is for."""

    PLANNER = "planner"  #: takes jobs, outcomes and dead letters; gives out assignments; may drain and remove nodes
    CLIENT = "client"  #: submits, cancels, reorders and asks about jobs; gets events of its own
    TRAINER = "trainer"  #: consumes its own queue; all else it reads from the ledger
    NODE = "node"  #: consumes its own queues; answers in its own name
    LINK = "link"  #: a site's shovels, at the hub: speak for all nodes and clients of the site (`site`)


@dataclass(frozen=True, kw_only=True)
class TopicRight:
    """Routing keys of one exchange that a user may publish with (`write`) and bind queues to (`read`)."""

    exchange: str
    write: str = NOTHING
    read: str = NOTHING


@dataclass(frozen=True, kw_only=True)
class Rights:
    """RabbitMQ's three patterns over names, and the topic rights."""

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topics: tuple[TopicRight, ...] = ()


def user_of(role: Role, name: str) -> str:
    """Return the name of the user; a node's is that of its queue.

    Raises:
        ConfigurationError: `name` cannot be one: dots would be read as levels of a routing key.
    """
    return f"{role}.{check_node_name(name)}"


def owner_of(url: str) -> tuple[Role, str] | None:
    """Return role and name of the user in an AMQP URL; None where it is not one of Ladle's."""
    return _role_and_name(unquote(urlsplit(url).username or ""))


def held_to(user: str) -> str | None:
    """Return whose clients and jobs a message of `user` may name; None: anybody's, of a user with all rights.

    A client's user stands for itself, a link for its site. A planner's user may act for all, as `ladle cancel` does
    where the planner runs, and so may users that Ladle did not make, such as `guest`.
    """
    role, name = _role_and_name(user) or (Role.PLANNER, "")
    return None if role is Role.PLANNER else name


def _role_and_name(user: str) -> tuple[Role, str] | None:
    role, _, name = user.partition(".")
    return (Role(role), name) if role in set(Role) and NODE_NAME.fullmatch(name) else None


def rights(role: Role, name: str, nodes: Sequence[str] = ()) -> Rights:
    """Return what the user of `role` and `name` may do.

    Args:
        role: what it is for.
        name: of the node, client, planner, trainer or site.
        nodes: of a link only: the nodes it stands for.

    Raises:
        ConfigurationError: a name cannot be one, or a link stands for no node.
    """
    check_node_name(name)
    match role:
        case Role.PLANNER:
            return _planner()
        case Role.CLIENT:
            return _client(name)
        case Role.TRAINER:
            train = TopicRight(exchange=TRAIN.name, write=r"^train\.")
            return Rights(write=_exactly(TRAIN.name), read=_exactly(TRAIN_QUEUE.name), topics=(train,))
        case Role.NODE:
            return _node(name)
        case Role.LINK:
            return _link(name, nodes)


def _planner() -> Rights:
    """A planner may also act as a client, as `ladle drain` does: it obeys only itself and administrators."""
    queues = (PLANNER_QUEUE.name, ADMIN_QUEUE.name, OUTCOMES_QUEUE.name, DEAD_QUEUE.name)
    exchanges = [exchange.name for exchange in (JOBS, ADMIN, NODES, EVENTS, CONTROL, DEAD)]
    return Rights(
        configure=r"^client\.",
        write=_exactly(*exchanges, any_of=r"client\..*"),
        read=_exactly(*queues, EVENTS.name, any_of=r"client\..*"),
    )


def _client(name: str) -> Rights:
    queues = rf"client\.{name}\..*"
    return Rights(
        configure=f"^{queues}$",
        write=_exactly(JOBS.name, any_of=queues),
        read=_exactly(EVENTS.name, any_of=queues),
        topics=(
            TopicRight(exchange=JOBS.name, write=_exactly(*CLIENT_REQUESTS)),
            TopicRight(exchange=EVENTS.name, read=rf"^(job|progress\.\*)\.{name}\."),
        ),
    )


def _node(name: str) -> Rights:
    return Rights(
        write=_exactly(OUTCOMES.name, EVENTS.name, DEAD.name),
        read=rf"^(node|control)\.{name}$",
        topics=(
            *_answers(name),
            TopicRight(exchange=DEAD.name, write=rf"^dead\.node\.{name}$"),
        ),
    )


def _link(name: str, nodes: Sequence[str]) -> Rights:
    """Dead letters from the site's broker keep their old keys, so any key is allowed but those of other nodes.

    Requests may have any key: a header `CC` can lead one with another key into the site's queue, and the planner obeys
    none but those of clients.

    A shovel that carries a refused message stops there for good, so nothing the site may send must be refused.
    """
    if not nodes:
        raise ConfigurationError("a link stands for the nodes of its site: name at least one")
    either = f"({'|'.join(check_node_name(node) for node in nodes)})"
    return Rights(
        write=_exactly(JOBS.name, OUTCOMES.name, EVENTS.name, DEAD.name),
        read=rf"^site\.{name}(\.news)?$",
        topics=(
            TopicRight(exchange=JOBS.name, write=ANY),
            *_answers(either),
            TopicRight(exchange=DEAD.name, write=rf"^(?!(dead\.)?node\.(?!{either}$))"),
        ),
    )


def _answers(who: str) -> tuple[TopicRight, ...]:
    return (
        TopicRight(exchange=OUTCOMES.name, write=rf"^outcome\.{who}\."),
        TopicRight(exchange=EVENTS.name, write=rf"^progress\.{who}\."),
    )


def _exactly(*names: str, any_of: str = "") -> str:
    """Return the pattern of these names, and of what the pattern `any_of` describes, from beginning to end."""
    patterns = [re.escape(name) for name in names] + ([any_of] if any_of else [])
    return f"^({'|'.join(patterns)})$"
