from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kombu import Connection, Producer

from broker_config.consumer import death_of
from broker_config.rabbitmq import definitions as rabbitmq
from broker_config.settings import Settings
from broker_config.topology import (
    DEAD_QUEUE,
    NODES,
    PLANNER_QUEUES,
    TRAIN_QUEUE,
    client_queue,
    control_queue,
    node_queue,
)

QUEUES = [*PLANNER_QUEUES, TRAIN_QUEUE, node_queue("attic"), client_queue("c", 1), control_queue("attic")]


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_each_queue_has_exactly_one_policy(queue) -> None:
    patterns = [policy.pattern for policy in rabbitmq.policies(Settings(_env_file=None))]
    assert sum(re.search(pattern, queue.name) is not None for pattern in patterns) == 1


def test_nothing_is_dead_lettered_into_a_loop() -> None:
    dead = [policy for policy in rabbitmq.policies(Settings(_env_file=None)) if re.search(policy.pattern, "dead")]
    assert "dead-letter-exchange" not in dead[0].definition


def test_limits_follow_the_settings() -> None:
    settings = Settings(_env_file=None, delivery_limit=7, attempt_limit_s=7200)
    nodes = next(policy for policy in rabbitmq.policies(settings) if policy.name == "ladle-nodes")
    assert nodes.definition["delivery-limit"] == 7
    assert rabbitmq.consumer_timeout_ms(settings) > 7_200_000


def test_both_ways_to_apply_say_the_same() -> None:
    definitions = rabbitmq.definitions(Settings(_env_file=None), "/images")
    written = [(p["vhost"], p["name"], p["pattern"], p["definition"]) for p in definitions["policies"]]
    printed = [
        (command[3], command[6], command[7], json.loads(command[8]))
        for command in rabbitmq.commands(Settings(_env_file=None), "/images")
    ]
    assert written == printed


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://u:p@host:5672/ladle", "ladle"),
        ("amqp://u:p@host:5672/%2Fimages", "/images"),
        ("amqp://u:p@host:5672//", "/"),
        ("amqp://u:p@host:5672/", "/"),
        ("amqp://u:p@host", "/"),
    ],
)
def test_the_virtual_host_is_the_one_of_the_url(url: str, vhost: str) -> None:
    assert rabbitmq.vhost_of(url) == vhost


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path) -> None:
    result = CliRunner().invoke(rabbitmq.command, ["--out", str(tmp_path / "missing" / "ladle.json")])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: cannot write")


@pytest.fixture
def vhost(private_rabbitmq, request):
    """A new virtual host of the private broker, which goes with the broker."""
    name = request.node.name
    private_rabbitmq.rabbitmqctl("add_vhost", name)
    private_rabbitmq.rabbitmqctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
    return name


def connection_to(broker, vhost, login="guest:guest") -> Connection:
    return Connection(broker.url.replace("guest:guest", login).removesuffix("//") + f"/{vhost}")


def waited_for(queue, patience_s=2.0):
    """Return the next message of `queue`, or None when none came: a requeued one takes a moment to be ready."""
    give_up = time.monotonic() + patience_s
    while (message := queue.get()) is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return message


@pytest.mark.rabbitmq
def test_the_printed_commands_set_the_policies(private_rabbitmq, vhost) -> None:
    settings = Settings(_env_file=None)
    for program, *arguments in rabbitmq.commands(settings, vhost):
        assert program == "rabbitmqctl"
        private_rabbitmq.rabbitmqctl(*arguments)
    listed = json.loads(private_rabbitmq.rabbitmqctl("list_policies", "--vhost", vhost, "--formatter", "json"))
    found = {policy["name"]: json.loads(policy["definition"]) for policy in listed}
    assert found == {policy.name: policy.definition for policy in rabbitmq.policies(settings)}


@pytest.mark.rabbitmq
def test_a_message_that_is_given_back_four_times_lies_in_dead(private_rabbitmq, vhost, tmp_path) -> None:
    # Given a broker that has loaded the definitions file, and a node's queue with one message
    definitions = tmp_path / "ladle.json"
    definitions.write_text(rabbitmq.definitions_json(Settings(_env_file=None, delivery_limit=3), vhost))
    private_rabbitmq.rabbitmqctl("import_definitions", str(definitions))
    with connection_to(private_rabbitmq, vhost) as connection, connection.channel() as channel:
        node, dead = node_queue("attic")(channel), DEAD_QUEUE(channel)
        for queue in (node, *(queue(channel) for queue in (*PLANNER_QUEUES, TRAIN_QUEUE))):
            queue.declare()  # a queue that the file declared otherwise would be refused here (406)
        Producer(channel).publish({"n": 1}, exchange=NODES.name, routing_key="node.attic", mandatory=True)

        # When each delivery is given back
        deliveries = 0
        while deliveries < 10 and (message := waited_for(node)) is not None:
            deliveries += 1
            message.requeue()

        # Then the fourth was the last, and the message lies in `dead`, with the reason
        assert deliveries == 4
        letter = waited_for(dead)
        assert letter.payload == {"n": 1}
        assert letter.delivery_info["routing_key"] == "node.attic"
        assert death_of(letter.headers) == "delivery_limit in queue 'node.attic'"
        letter.ack()


@pytest.mark.rabbitmq
def test_the_user_of_compose_yaml_can_log_in(private_rabbitmq, tmp_path) -> None:
    compose = yaml.safe_load((Path(__file__).parents[3] / "compose.yaml").read_text())
    content = compose["configs"]["rabbitmq-user"]["content"]
    user = tmp_path / "user.json"
    user.write_text(re.sub(r"\$\{LADLE_RABBITMQ_PASSWORD:\?[^}]*\}", "s3cret", content))
    private_rabbitmq.rabbitmqctl("import_definitions", str(user))
    with connection_to(private_rabbitmq, "ladle", login="ladle:s3cret") as connection:
        connection.connect()
        assert connection.connected
