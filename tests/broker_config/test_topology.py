from __future__ import annotations

import pytest
from amqp.exceptions import NotFound
from kombu import Connection

from broker_config.errors import ConfigurationError
from broker_config.topology import (
    EXCHANGES,
    JOBS,
    PLANNER_QUEUES,
    TRAIN_QUEUE,
    check_node_name,
    client_queue,
    control_queue,
    declare_exchanges,
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


def test_what_is_there_is_not_declared_again(broker_url):
    with Connection(broker_url) as connection, connection.channel() as channel:
        declare_exchanges(channel)
        channel.queue_declare("node.a", durable=True, auto_delete=False, arguments={"x-max-length": 7})
        assert node_queue("a")(channel).declare() == "node.a"  # RabbitMQ would refuse other arguments (406)
        channel.queue_delete("node.a")


def test_a_missing_exchange_is_missing_until_it_is_declared(broker_url):
    with Connection(broker_url) as connection, connection.channel() as channel:
        channel.exchange_delete(JOBS.name)
        with connection.channel() as asking, pytest.raises(NotFound, match="no exchange"):
            JOBS(asking).declare(passive=True)
        declare_exchanges(channel)
        JOBS(channel).declare(passive=True)
