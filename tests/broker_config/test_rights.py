"""Who may do what, as patterns; tests/acceptance/test_rights.py shows that RabbitMQ keeps to them."""

from __future__ import annotations

import re

import pytest

from broker_config.errors import ConfigurationError
from broker_config.rights import Rights, Role, held_to, owner_of, rights, user_of
from broker_config.topology import (
    EXCHANGES,
    PLANNER_QUEUES,
    TRAIN_QUEUE,
    client_queue,
    control_queue,
    node_queue,
    outcome_key,
    progress_key,
)

QUEUES = [
    *(queue.name for queue in (*PLANNER_QUEUES, TRAIN_QUEUE)),
    *(queue(node).name for node in ("e1", "e2", "e1-b") for queue in (node_queue, control_queue)),
    *(client_queue(client, 1).name for client in ("0a", "alice.0a", "alice-b.0a", "bob.0a")),
]
NAMES = [
    *QUEUES,
    *(exchange.name for exchange in EXCHANGES),
    "",
    "amq.default",
    "celery.pidbox",
    "celeryev",
    "node.e10",
]
KEYS = [
    *(
        "submit",
        "cancel",
        "set_priority",
        "reconcile",
        "admin.drain",
        "train.retrain",
        "node.e1",
        "node.e2",
        "shared",
        "",
    ),
    *(outcome_key(node, kind) for node in ("e1", "e2", "e1-b") for kind in ("done", "report")),
    *(progress_key(node, client) for node in ("e1", "e2", "*") for client in ("0a", "alice.0a", "bob.0a")),
    *("dead.node.e1", "dead.node.e2", "dead.dead", "job.alice.0a.done", "job.alice.0a.#", "job.bob.0a.#", "job.#", "#"),
]


def matching(pattern: str, names: list[str]) -> set[str]:
    return {name for name in names if re.search(pattern, name)}  # RabbitMQ, too, searches


def publishable(granted: Rights) -> set[tuple[str, str]]:
    """Every exchange and key of ours that a user may publish with."""
    limits = {topic.exchange: topic.write for topic in granted.topics}
    exchanges = matching(granted.write, [exchange.name for exchange in EXCHANGES])
    return {(name, key) for name in exchanges for key in matching(limits.get(name, ""), KEYS)}


def test_a_node_reads_its_own_queues_declares_nothing_and_speaks_in_its_own_name() -> None:
    granted = rights(Role.NODE, "e1")
    assert matching(granted.configure, NAMES) == {""}
    assert matching(granted.read, NAMES) == {"node.e1", "control.e1"}
    assert publishable(granted) == {
        ("ladle.outcomes", "outcome.e1.done"),
        ("ladle.outcomes", "outcome.e1.report"),
        ("ladle.events", "progress.e1.0a"),
        ("ladle.events", "progress.e1.alice.0a"),
        ("ladle.events", "progress.e1.bob.0a"),
        ("ladle.dead", "dead.node.e1"),
    }


def test_a_client_has_queues_of_its_own_name_and_submits() -> None:
    granted = rights(Role.CLIENT, "alice")
    assert matching(granted.configure, NAMES) == {"client.alice.0a.1"}
    assert matching(granted.read, NAMES) == {"client.alice.0a.1", "ladle.events"}
    assert publishable(granted) == {("ladle.jobs", key) for key in ("submit", "cancel", "set_priority", "reconcile")}
    events = next(topic for topic in granted.topics if topic.exchange == "ladle.events")
    assert matching(events.read, KEYS) == {"progress.*.alice.0a", "job.alice.0a.done", "job.alice.0a.#"}


def test_a_planner_reads_no_nodes_queue_and_answers_for_no_node() -> None:
    granted = rights(Role.PLANNER, "main")
    clients = {name for name in NAMES if name.startswith("client.")}
    assert matching(granted.configure, NAMES) == clients
    assert matching(granted.read, NAMES) == {"planner", "admin", "outcomes", "dead", "ladle.events", *clients}
    written = {"ladle.jobs", "ladle.admin", "ladle.nodes", "ladle.events", "ladle.control", "ladle.dead", *clients}
    assert matching(granted.write, NAMES) == written


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PLANNER])
def test_nobody_but_a_planner_reaches_the_exchange_of_orders(role) -> None:
    granted = rights(role, "e1", ["e1"])
    for pattern in (granted.configure, granted.write, granted.read):
        assert not re.search(pattern, "ladle.admin")


def test_a_trainer_touches_its_queue_alone() -> None:
    granted = rights(Role.TRAINER, "main")
    assert matching(granted.read, NAMES) == {"train"}
    assert publishable(granted) == {("ladle.train", "train.retrain")}


def test_a_link_takes_what_its_site_is_sent_and_says_what_its_nodes_and_clients_may() -> None:
    granted = rights(Role.LINK, "cellar", ["e1", "e2"])
    sites = ["site.cellar", "site.cellar.news", "site.cellar-b", "site.attic", "site.attic.news"]
    assert matching(granted.read, [*NAMES, *sites]) == {"site.cellar", "site.cellar.news"}
    assert matching(granted.configure, NAMES) == {""}
    of_any_key = ("ladle.jobs", "ladle.dead")
    said = {(name, key) for name, key in publishable(granted) if name not in of_any_key}
    nodes = [publishable(rights(Role.NODE, name)) for name in ("e1", "e2")]
    assert said == {(name, key) for name, key in set.union(*nodes) if name not in of_any_key}
    assert publishable(rights(Role.CLIENT, "cellar")) <= publishable(granted)


def test_a_link_brings_every_dead_letter_but_another_nodes() -> None:
    granted = rights(Role.LINK, "cellar", ["e1"])
    died_under = matching(next(topic.write for topic in granted.topics if topic.exchange == "ladle.dead"), KEYS)
    assert set(KEYS) - died_under == {"node.e2", "dead.node.e2"}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PLANNER])
def test_every_topic_exchange_that_a_role_may_touch_is_limited_to_some_keys(role) -> None:
    granted = rights(role, "e1", ["e1"])
    exchanges = [exchange.name for exchange in EXCHANGES]
    limited = {topic.exchange for topic in granted.topics}
    assert matching(granted.write, exchanges) | matching(granted.read, exchanges) == limited


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["", "a.b", ".*", "a|b", "A"])
def test_a_name_that_is_a_pattern_is_refused(role, name) -> None:
    with pytest.raises(ConfigurationError, match="1-63"):
        rights(role, name, ["e1"])
    with pytest.raises(ConfigurationError, match="1-63"):
        rights(Role.LINK, "cellar", [name])
    with pytest.raises(ConfigurationError, match="1-63"):
        user_of(role, name)


def test_a_link_without_nodes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        rights(Role.LINK, "cellar")


@pytest.mark.parametrize("role", Role)
def test_a_url_tells_whose_it_is(role) -> None:
    assert owner_of(f"amqps://{user_of(role, 'e1')}:p@host:5671/ladle") == (role, "e1")


@pytest.mark.parametrize("user", ["guest", "ladle", "e1", "node", "node.", "node.a.b", "admin.e1", "node.E1", ""])
def test_any_other_user_is_nobody_of_ladles(user) -> None:
    assert owner_of(f"amqp://{user}:p@host/ladle") is None
    assert owner_of("amqp://host") is None
    assert owner_of("sqlite:////tmp/broker.db") is None


@pytest.mark.parametrize("user", [f"{role}.ann" for role in ("client", "link", "node", "trainer")])
def test_a_user_is_held_to_what_is_its_own(user):
    assert held_to(user) == "ann"


@pytest.mark.parametrize("user", ["guest", "planner.main", "ann", "client.", "client.a.b", "boss.ann", ""])
def test_a_planner_and_users_that_ladle_did_not_make_are_held_to_nothing(user):
    assert held_to(user) is None
