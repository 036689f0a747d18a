from __future__ import annotations

import pytest
from kombu import Connection

from broker_config.errors import ConfigurationError
from broker_config.topology import (
    EXCHANGES,
    PLANNER_QUEUES,
    TRAIN_QUEUE,
    check_node_name,
    client_queue,
    control_queue,
    node_queue,
)


@pytest.mark.parametrize("name", ["a", "gpu-1", "rack_2", "x" * 63, "0"])
def test_good_node_names(name):
    assert check_node_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "a b", "-a", "a-", "x" * 64, "ä", "a\n", "*", "#"])
def test_bad_node_names_are_refused_with_the_rule(name):
    with pytest.raises(ConfigurationError, match="1-63"):
        check_node_name(name)


def test_all_is_declared_twice_without_complaint(broker_url):
    queues = [*PLANNER_QUEUES, TRAIN_QUEUE, node_queue("a"), control_queue("a"), client_queue("c", 1)]
    for _ in range(2):
        with Connection(broker_url) as connection, connection.channel() as channel:
            for exchange in EXCHANGES:
                exchange(channel).declare()
            for queue in queues:
                queue(channel).declare()
    with Connection(broker_url) as connection, connection.channel() as channel:
        for queue in (control_queue("a"), client_queue("c", 1)):
            channel.queue_delete(queue.name)


def test_all_exchanges_are_topic_exchanges():
    assert {exchange.type for exchange in EXCHANGES} == {"topic"}
