from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from broker_config import rabbitmq
from broker_config.settings import Settings
from broker_config.topology import PLANNER_QUEUES, TRAIN_QUEUE, client_queue, control_queue, node_queue

QUEUES = [*PLANNER_QUEUES, TRAIN_QUEUE, node_queue("attic"), client_queue("c", 1), control_queue("attic")]


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_each_queue_has_exactly_one_policy(queue) -> None:
    matching = [policy.name for policy in rabbitmq.policies(Settings()) if re.search(policy.pattern, queue.name)]
    assert len(matching) == 1


def test_nothing_is_dead_lettered_into_a_loop() -> None:
    dead = [policy for policy in rabbitmq.policies(Settings()) if re.search(policy.pattern, "dead")]
    assert "dead-letter-exchange" not in dead[0].definition


def test_limits_follow_the_settings() -> None:
    settings = Settings(delivery_limit=7, attempt_limit_s=7200)
    nodes = next(policy for policy in rabbitmq.policies(settings) if policy.name == "ladle-nodes")
    assert nodes.definition["delivery-limit"] == 7
    assert rabbitmq.consumer_timeout_ms(settings) > 7_200_000


def test_both_ways_to_apply_say_the_same() -> None:
    definitions = rabbitmq.definitions(Settings(), "/images")
    written = [(p["vhost"], p["name"], p["pattern"], p["definition"]) for p in definitions["policies"]]
    printed = [
        (command[3], command[6], command[7], json.loads(command[8]))
        for command in rabbitmq.commands(Settings(), "/images")
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
