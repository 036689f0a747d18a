"""`ladle node` and `ladle user` without a broker; on RabbitMQ they are in tests/acceptance/test_rights.py."""

from __future__ import annotations

import json

import pytest

from broker_config.settings import load_settings


@pytest.fixture
def at_rabbitmq(monkeypatch):
    """Settings that name a RabbitMQ. Nobody goes there."""
    monkeypatch.setenv("LADLE_BROKER_URL", "amqp://admin:secret@127.0.0.1:9/site")
    load_settings.cache_clear()


@pytest.mark.parametrize("command", [("node", "add", "attic"), ("user", "remove", "client", "alice")])
def test_the_embedded_broker_has_no_users(ladle, command):
    result = ladle(*command)
    assert result.exit_code == 1
    assert "names no RabbitMQ" in result.output


def test_what_is_only_printed_is_for_rabbitmqctl_and_ends_with_the_command_to_run(ladle, at_rabbitmq):
    result = ladle("node", "add", "attic", "--address", "broker.example:5671", "--print")
    assert result.exit_code == 0, result.output
    import_line, _, rest = result.output.partition("\n")
    assert import_line == "rabbitmqctl import_definitions <<'END'"
    defined, _, after = rest.partition("\nEND\n")
    (user,) = json.loads(defined)["users"]
    assert user["name"] == "node.attic"
    url, command = after.splitlines()[-1].split(" ", 1)
    assert url.startswith("LADLE_BROKER_URL=")
    assert "broker.example:5671" in url
    assert command == "ladle worker --node attic"
    assert "secret" not in result.output


def test_removing_a_node_takes_its_user_and_its_queues(ladle, at_rabbitmq):
    lines = ladle("node", "remove", "attic", "--print").output.splitlines()
    assert lines[0] == "rabbitmqctl delete_user node.attic"
    assert "rabbitmqctl delete_queue --vhost site node.attic" in lines


def test_removing_a_user_leaves_every_queue(ladle, at_rabbitmq):
    assert ladle("user", "remove", "client", "alice", "--print").output == "rabbitmqctl delete_user client.alice\n"


def test_a_node_is_no_role_of_a_user(ladle, at_rabbitmq):
    assert ladle("user", "add", "node", "attic", "--print").exit_code == 2
