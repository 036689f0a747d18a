"""No property that a user of a site may set ends a shovel: after each odd message, the next good one is at the hub.

There are two brokers here, without planner and workers; test_sites.py has whole sites.
"""

from __future__ import annotations

import datetime
import json
import time
from contextlib import contextmanager, suppress

import pytest
from amqp import Message
from amqp.exceptions import AMQPError
from kombu import Connection
from ladle_site import wait_until
from private_broker import a_private_rabbitmq

from broker_config.rabbitmq.private import NEW_QUEUE_S
from broker_config.rabbitmq.site import FRAME_BYTES, Site, hub_definitions, link_definitions, site_definitions
from broker_config.rabbitmq.site_command import SHOVEL_PLUGIN
from broker_config.rights import Role, user_of
from broker_config.settings import Settings
from broker_config.topology import DEAD_REQUEST

pytestmark = pytest.mark.rabbitmq
LINK = "link.berlin"
SITES_FRAME_BYTES = 131_072  # RabbitMQ's default
CLIENT, NODE = "client.berlin", "node.berlin-1"
SENDERS = {
    "a client's request": (CLIENT, "ladle.jobs", "submit"),
    "a node's result": (NODE, "ladle.outcomes", "outcome.berlin-1.done"),
    "a node's report": (NODE, "ladle.outcomes", "outcome.berlin-1.report"),
    "a node's progress": (NODE, "ladle.events", "progress.berlin-1.somebody"),
    "a node's dead letter": (NODE, "ladle.dead", "dead.node.berlin-1"),
}
FOREIGN = ["drain", "outcome.turin-1.done", "job.turin.0a.done", "dead.node.turin-1"]
DEATH = {"queue": "a", "reason": "b", "count": 1, "exchange": "x", "routing-keys": ["r"]}
ODD = {  # what the site's broker refuses at once is safe as well: it never gets to a shovel
    "nothing": {},
    "expiration at once": {"expiration": "0"},
    "expiration at the limit": {"expiration": str(2**32 - 1)},
    "expiration over the limit": {"expiration": "9" * 30},
    "expiration in words": {"expiration": "soon"},
    "priority": {"priority": 255},
    "no delivery mode": {"delivery_mode": 0},
    "delivery mode transient": {"delivery_mode": 1},
    "delivery mode unknown": {"delivery_mode": 255},
    "type": {"type": "t" * 255},
    "app_id": {"app_id": "é" * 127},
    "cluster_id": {"cluster_id": "elsewhere"},
    "reply_to": {"reply_to": "amq.rabbitmq.reply-to.g1h.x"},
    "reply_to direct": {"reply_to": "amq.rabbitmq.reply-to"},
    "timestamp": {"timestamp": 2**63},
    "content type": {"content_type": "\x00\xff", "content_encoding": "utf-99"},
    "empty ids": {"message_id": "", "correlation_id": ""},
    "CC of others": {"application_headers": {"CC": FOREIGN}},
    "BCC of others": {"application_headers": {"BCC": FOREIGN}},
    "CC no list": {"application_headers": {"CC": "drain"}},
    "CC no keys": {"application_headers": {"CC": [1, {"a": None}]}},
    "headers of any type": {
        "application_headers": {
            "nothing": None,
            "nested": {"list": [1, 2.5, True, -(2**63), datetime.datetime(2026, 1, 1)]},
            "bytes": b"\xff\x00",
            "long": "z" * 50_000,
        }
    },
    "headers of the broker": {
        "application_headers": {"x-death": [DEATH], "x-delivery-count": -5, "x-acquired-count": "a", "x-shovelled": 7}
    },
    "headers of the broker, broken": {"application_headers": {"x-death": [1, "a"], "x-delivery-count": "many"}},
}


class JoinedHosts:
    """Two brokers with the virtual hosts `hub` and `berlin`, joined and configured as `ladle site add` says."""

    def __init__(self, folder) -> None:
        self.hub = a_private_rabbitmq(folder / "hub")
        self.site = a_private_rabbitmq(folder / "site", plugins=[SHOVEL_PLUGIN])
        self._folder = folder

    def start(self) -> None:
        for broker in (self.hub, self.site):
            broker.start()
        self.hub.rabbitmqctl("eval", f"application:set_env(rabbit, frame_max, {FRAME_BYTES}).")
        hub, edge = (f"amqp://{self._address(vhost)}/{vhost}" for vhost in ("hub", "berlin"))
        site = Site(name="berlin", nodes=("berlin-1",), hub_url=hub, site_url=edge)
        settings, passwords = Settings(_env_file=None), {user_of(*owner): "secret" for owner in site.owners}
        assert user_of(Role.LINK, site.name) == LINK
        of_site = site_definitions(settings, site, passwords)
        self.define(self.hub, hub_definitions(settings, site, passwords))
        self.define(self.site, of_site)
        self.link = link_definitions(site, passwords)
        self.define(self.site, of_site | self.link)
        self.hub.rabbitmqctl("set_permissions", "--vhost", "hub", "guest", ".*", ".*", ".*")

    def define(self, broker, definitions) -> None:
        """Import definitions, for the first time or again."""
        file = self._folder / "definitions.json"
        file.write_text(json.dumps(definitions))
        broker.rabbitmqctl("import_definitions", str(file))

    def kill(self) -> None:
        for broker in (self.hub, self.site):
            broker.kill()

    def _address(self, vhost: str) -> str:
        broker = self.hub if vhost == "hub" else self.site
        return broker.url.rpartition("@")[2].strip("/")

    @contextmanager
    def channel(self, user: str, password: str = "secret", vhost: str = "berlin"):
        with Connection(f"amqp://{user}:{password}@{self._address(vhost)}/{vhost}") as connection:
            with connection.channel() as channel:
                yield channel

    def publish(self, sender: str, message: Message) -> None:
        user, exchange, key = SENDERS[sender]
        with self.channel(user) as channel:
            channel.confirm_select()
            channel.basic_publish_confirm(message, exchange=exchange, routing_key=key)


@pytest.fixture(scope="module")
def hosts(rabbitmq_server, tmp_path_factory):
    hosts = JoinedHosts(tmp_path_factory.mktemp("hosts"))
    try:
        hosts.start()
        time.sleep(NEW_QUEUE_S)
        yield hosts
    finally:
        hosts.kill()


@pytest.fixture
def at_the_hub(hosts):
    """What comes to the hub under any key, as a function that waits for one body and returns all until then."""
    with hosts.channel("guest", "guest", "hub") as channel:
        seen = channel.queue_declare(queue="", exclusive=True).queue
        for exchange in ("ladle.jobs", "ladle.outcomes", "ladle.events", "ladle.dead"):
            channel.queue_bind(seen, exchange, "#")
        came = []

        def comes(body: bytes) -> bool:
            while (message := channel.basic_get(seen, no_ack=True)) is not None:
                came.append(message)
            return any(message.body == body for message in came)

        def until(body: bytes) -> list:
            wait_until(lambda: comes(body), f"{body!r} is at the hub")
            return came

        yield until


@pytest.mark.fault(46, "R")
@pytest.mark.parametrize("sender", SENDERS)
def test_a_true_user_name_stops_nothing_and_arrives_as_the_links(hosts, at_the_hub, sender):
    hosts.publish(sender, Message(b"odd", user_id=SENDERS[sender][0]))
    hosts.publish(sender, Message(b"good"))
    came = {message.body: message.properties["user_id"] for message in at_the_hub(b"good")}
    assert came == {b"odd": LINK, b"good": LINK}


@pytest.mark.fault(46, "R")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("sender", SENDERS)
def test_after_a_message_with_an_odd_property_the_next_one_arrives(hosts, at_the_hub, sender, odd):
    with suppress(AMQPError):
        hosts.publish(sender, Message(b"odd", **ODD[odd]))
    hosts.publish(sender, Message(b"good"))
    came = at_the_hub(b"good")
    assert {message.properties["delivery_mode"] for message in came} == {2}
    assert {message.delivery_info["routing_key"] for message in came} == {SENDERS[sender][2]}


@pytest.mark.fault(46, "R")
@pytest.mark.parametrize("headers", [{}, {"CC": ["submit"]}, {"BCC": ["cancel"]}])
def test_what_came_through_an_exchange_of_the_client_s_own_stops_nothing(hosts, at_the_hub, headers):
    with hosts.channel(CLIENT) as channel:
        channel.exchange_declare("client.berlin.x", type="topic", auto_delete=False)
        channel.exchange_bind("ladle.jobs", "client.berlin.x", "#")
        message = Message(b"odd", application_headers=headers)
        channel.basic_publish(message, "client.berlin.x", "drain" if headers else "submit")
        channel.exchange_delete("client.berlin.x")
    hosts.publish("a client's request", Message(b"good"))
    came = at_the_hub(b"good")
    assert {message.delivery_info["exchange"] for message in came} == {"ladle.jobs"}
    assert [message.body for message in came][-2:] == [b"odd", b"good"]


@pytest.mark.fault(46, "R")
@pytest.mark.parametrize("sender", SENDERS)
def test_headers_as_large_as_the_site_takes_them_stop_nothing(hosts, at_the_hub, sender):
    # a frame of headers holds 25 bytes beside the text, and the site takes it up to its own default
    taken = []
    for size in (*range(SITES_FRAME_BYTES - 60, SITES_FRAME_BYTES, 5), 2 * SITES_FRAME_BYTES):
        with suppress(AMQPError, OSError):
            hosts.publish(sender, Message(b"odd", application_headers={"h": "z" * size}))
            taken.append(size)
    hosts.publish(sender, Message(b"good"))
    assert len([message for message in at_the_hub(b"good") if message.body == b"odd"]) >= len(taken)
    assert SITES_FRAME_BYTES - 60 <= max(taken) < SITES_FRAME_BYTES


@pytest.mark.fault(46, "R")
@pytest.mark.parametrize("key", ["node.turin-1", "dead.node.turin-1", "dead.planner"])
def test_a_request_that_expires_under_a_key_of_others_stops_nothing(hosts, at_the_hub, key):
    # Given requests that a client leads past the rights to keys, and that die at the site before the link takes them
    hosts.site.rabbitmqctl("clear_parameter", "--vhost", "berlin", "shovel", "planner")
    with hosts.channel(CLIENT) as channel:
        channel.exchange_declare("client.berlin.x", type="topic", auto_delete=False)
        channel.exchange_bind("ladle.jobs", "client.berlin.x", "#")
        channel.confirm_select()
        for _ in range(10):
            message = Message(b"odd", application_headers={"CC": ["submit"]}, expiration="0")
            channel.basic_publish_confirm(message, "client.berlin.x", key)
        channel.exchange_delete("client.berlin.x")
    # Then they arrive under a key that nobody chose, and so does a node's dead letter after them
    at_the_hub(b"odd")
    hosts.publish("a node's dead letter", Message(b"good"))
    came = at_the_hub(b"good")
    assert {message.delivery_info["routing_key"] for message in came} == {DEAD_REQUEST, "dead.node.berlin-1"}
    hosts.define(hosts.site, hosts.link)


@pytest.mark.fault(46, "R")
def test_what_expired_at_a_node_arrives_as_a_dead_letter(hosts, at_the_hub):
    with hosts.channel("guest", "guest", "hub") as channel:
        channel.basic_publish(
            Message(b"odd", expiration="1", user_id="guest", delivery_mode=1), "ladle.nodes", "node.berlin-1"
        )
    odd = at_the_hub(b"odd")[-1]
    assert odd.delivery_info["routing_key"] == "node.berlin-1"
    assert odd.properties["user_id"] == LINK


def test_the_sites_queues_are_those_of_the_definitions_and_have_their_policies(hosts):
    listed = hosts.site.rabbitmqctl("list_queues", "--vhost", "berlin", "name", "type", "policy", "--formatter", "json")
    queues = {queue["name"]: (queue["type"], queue["policy"]) for queue in json.loads(listed)}
    assert queues["planner"] == ("quorum", "ladle-requests")
    assert queues["outcomes"] == ("quorum", "ladle-planner")
    assert queues["dead"] == ("quorum", "ladle-dead")
    assert queues["hub.news"] == ("classic", "ladle-news")
