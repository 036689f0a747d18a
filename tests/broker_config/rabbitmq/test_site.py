"""What the brokers of a hub and a site must hold; tests/acceptance/test_sites.py shows that it works."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

from broker_config.errors import ConfigurationError
from broker_config.rabbitmq.definitions import policies
from broker_config.rabbitmq.site import UP, Site, hub_definitions, link_definitions, site_definitions
from broker_config.rights import Role, rights, user_of
from broker_config.settings import Settings

SETTINGS = Settings(_env_file=None)
SITE = Site(
    name="berlin",
    nodes=("berlin-1", "berlin-2"),
    hub_url="amqps://hub.example:5671/ladle?verify=verify_peer",
    site_url="amqp://[::1]:5673",
)
PASSWORDS = {user_of(*owner): f"secret-of-{owner[0]}-{owner[1]}" for owner in SITE.owners}
HUB = hub_definitions(SETTINGS, SITE, PASSWORDS)
EDGE = site_definitions(SETTINGS, SITE, PASSWORDS)
SHOVELS = {shovel["name"]: shovel["value"] for shovel in link_definitions(SITE, PASSWORDS)["parameters"]}


def bindings(definitions: dict, queue: str) -> set[tuple[str, str]]:
    return {(b["source"], b["routing_key"]) for b in definitions["bindings"] if b["destination"] == queue}


def test_each_shovel_takes_a_queue_that_its_source_has() -> None:
    queues = {name: {queue["name"] for queue in there["queues"]} for name, there in (("hub", HUB), ("site", EDGE))}
    for name, shovel in SHOVELS.items():
        is_up = name in UP
        assert shovel["src-queue"] in queues["site" if is_up else "hub"]
        assert urlsplit(shovel["dest-uri" if is_up else "src-uri"]).hostname == "hub.example"
        assert shovel["src-uri" if is_up else "dest-uri"] == "amqp:///%2F"
    assert len(SHOVELS) == 6


def test_each_shovel_acknowledges_what_the_other_side_has_confirmed_and_never_ends() -> None:
    assert {(shovel["ack-mode"], shovel["src-delete-after"]) for shovel in SHOVELS.values()} == {
        ("on-confirm", "never")
    }


def test_what_a_sender_says_of_itself_never_reaches_the_other_side() -> None:
    properties = [shovel["dest-publish-properties"] for shovel in SHOVELS.values()]
    assert properties == [{"user_id": "link.berlin", "delivery_mode": 2}] * 6


def test_the_link_dials_the_hubs_virtual_host_as_its_own_user_and_notices_silence() -> None:
    uri = urlsplit(SHOVELS["outcomes"]["dest-uri"])
    assert (uri.scheme, uri.port, uri.path) == ("amqps", 5671, "/ladle")
    assert (uri.username, uri.password) == ("link.berlin", PASSWORDS["link.berlin"])
    assert uri.query.split("&") == ["verify=verify_peer", "heartbeat=5", "connection_timeout=10000"]


def test_all_that_can_get_into_a_queue_towards_the_hub_may_be_published_there() -> None:
    granted = rights(Role.LINK, SITE.name, SITE.nodes)
    keys = {topic.exchange: topic.write for topic in granted.topics}
    up = set.union(*(bindings(EDGE, queue) for queue in UP))
    assert {exchange for exchange, _ in up} == set(keys)
    for exchange, key in up:
        assert re.search(granted.write, exchange)
        if exchange != "ladle.dead":  # whose keys are those under which the others died
            assert re.search(keys[exchange], key.replace("#", "berlin.0a"))


def test_the_link_may_read_what_the_hub_keeps_for_the_site() -> None:
    read = rights(Role.LINK, SITE.name, SITE.nodes).read
    assert all(re.search(read, name) for name in SHOVELS if name not in UP)


def test_reports_and_progress_never_stand_before_results() -> None:
    assert not any("report" in key or "progress" in key for _, key in bindings(EDGE, "outcomes"))
    assert ("ladle.outcomes", "outcome.berlin-1.report") in bindings(EDGE, "hub.news")
    assert ("ladle.outcomes", "outcome.berlin-1.done") in bindings(EDGE, "outcomes")


def test_jobs_cancels_and_answers_of_this_site_alone_go_down() -> None:
    assert bindings(HUB, "site.berlin") == {("ladle.nodes", "node.berlin-1"), ("ladle.nodes", "node.berlin-2")}
    assert bindings(HUB, "site.berlin.news") == {
        ("ladle.control", "node.berlin-1"),
        ("ladle.control", "node.berlin-2"),
        ("ladle.events", "job.berlin.#"),
    }


@pytest.mark.parametrize("definitions", [HUB, EDGE], ids=["hub", "site"])
def test_every_queue_but_control_has_its_policy(definitions) -> None:
    patterns = [policy.pattern for policy in policies(SETTINGS)]
    for queue in definitions["queues"]:
        assert sum(re.search(pattern, queue["name"]) is not None for pattern in patterns) == 1, queue["name"]


def test_no_password_but_the_shovels_is_written_in_clear_text() -> None:
    assert "secret-of" not in json.dumps(HUB)
    assert "secret-of" not in json.dumps(EDGE)
    assert set(re.findall("secret-of-[a-z0-9-]+", json.dumps(SHOVELS))) == {PASSWORDS["link.berlin"]}


def test_each_side_gets_its_own_users() -> None:
    assert [user["name"] for user in HUB["users"]] == ["link.berlin"]
    assert {user["name"] for user in EDGE["users"]} == {"node.berlin-1", "node.berlin-2", "client.berlin"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "berlin.mitte"}, "1-63"),
        ({"nodes": ("a", "B")}, "1-63"),
        ({"nodes": ()}, "name each one once"),
        ({"nodes": ("a", "a")}, "name each one once"),
        ({"hub_url": "https://hub.example"}, "is not amqp://HOST/VHOST"),
        ({"site_url": "amqp:///ladle"}, "is not amqp://HOST/VHOST"),
        ({"hub_url": "amqp://user:secret@hub.example"}, r"user:\*\*\*@hub.example' names a user"),
    ],
)
def test_what_cannot_be_a_site_is_refused(change, sentence) -> None:
    fields = {"name": "b", "nodes": ("a",), "hub_url": "amqp://hub", "site_url": "amqp://site"}
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        Site(**{**fields, **change})
    assert "secret" not in str(refused.value)
