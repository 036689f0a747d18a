"""Users as definitions, and what the management API is asked."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from broker_config.errors import AdministrationError, ConfigurationError
from broker_config.rabbitmq.management import Management, management_url
from broker_config.rabbitmq.users import definitions, new_password, own_queues, password_hash, url_for
from broker_config.rights import Role


def test_a_password_is_stored_as_the_salted_hash_that_rabbitmq_checks():
    # https://www.rabbitmq.com/docs/passwords#computing-password-hash
    raw = base64.b64decode(password_hash("test12"))
    assert len(raw) == 4 + 32
    assert raw[4:] == hashlib.sha256(raw[:4] + b"test12").digest()
    assert password_hash("test12") != password_hash("test12")


def test_passwords_are_long_and_never_the_same():
    assert len({new_password() for _ in range(100)}) == 100
    assert len(new_password()) >= 32


@pytest.mark.parametrize("role", Role)
def test_definitions_hold_no_password_and_one_user_without_tags(role):
    made = definitions(role, "e1", "s3cret-password", "ladle", ["e1"])
    assert "s3cret-password" not in json.dumps(made)
    assert [(user["name"], user["tags"]) for user in made["users"]] == [(f"{role}.e1", [])]
    assert {entry["user"] for entry in made["permissions"] + made["topic_permissions"]} == {f"{role}.e1"}


def test_only_a_node_has_queues_of_its_own():
    assert [queue.name for queue in own_queues(Role.NODE, "e1")] == ["node.e1", "control.e1"]
    assert {own_queues(role, "e1") for role in Role if role is not Role.NODE} == {()}
    made = definitions(Role.NODE, "e1", "p", "ladle")
    assert {"node.e1", "control.e1", "planner", "outcomes"} <= {queue["name"] for queue in made["queues"]}
    assert ("ladle.control", "control.e1", "node.e1") in {
        (b["source"], b["destination"], b["routing_key"]) for b in made["bindings"]
    }


@pytest.mark.parametrize(
    ("broker", "address", "url"),
    [
        ("amqp://root:pw@rabbit:5672/ladle", "", "amqp://node.e1:p@rabbit:5672/ladle"),
        ("amqp://root:pw@rabbit:5672/ladle", "broker.example", "amqp://node.e1:p@broker.example:5672/ladle"),
        ("amqps://root:pw@rabbit/%2Fa", "broker.example:5671", "amqps://node.e1:p@broker.example:5671/%2Fa"),
        ("amqps://rabbit//", "broker.example", "amqps://node.e1:p@broker.example//"),
    ],
)
def test_the_url_to_give_away_has_the_new_user_only(broker, address, url):
    assert url_for(broker, Role.NODE, "e1", "p", address) == url


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("amqp://root:p%40w@rabbit:5672/ladle", "http://root:p%40w@rabbit:15672"),
        ("amqps://root:pw@rabbit/ladle", "https://root:pw@rabbit:15671"),
        ("amqp://rabbit", "http://rabbit:15672"),
        ("amqp://u:p@[::1]:5672//", "http://u:p@[::1]:15672"),
    ],
)
def test_the_management_api_is_looked_for_beside_the_broker(broker, url):
    assert management_url(broker) == url


def test_where_no_management_api_is_the_error_says_what_to_do():
    with pytest.raises(AdministrationError, match="--print") as caught:
        Management("http://root:s3cret@127.0.0.1:9").delete_user("node.e1")
    assert "s3cret" not in str(caught.value) + repr(caught.value)


def test_a_name_that_cannot_be_one_is_refused_before_anything_is_made():
    with pytest.raises(ConfigurationError, match="1-63"):
        definitions(Role.CLIENT, "no.dots", "p", "ladle")
