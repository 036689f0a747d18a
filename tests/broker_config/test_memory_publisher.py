"""The publisher without a broker behaves as the real one where planner and workers rely on it."""

from __future__ import annotations

import pytest

from broker_config.errors import BrokerUnavailableError
from broker_config.memory_publisher import MemoryPublisher
from broker_config.publisher import Post


def post(key, *, mandatory=False):
    return Post(exchange="ladle.nodes", routing_key=key, body={}, mandatory=mandatory)


def test_it_keeps_what_a_queue_takes_in_order():
    publisher = MemoryPublisher()
    first, second = post("node.a"), post("node.b")
    assert publisher.publish([first]) == publisher.publish([second]) == []
    assert publisher.sent == [first, second]


def test_a_message_without_a_queue_is_lost_and_a_mandatory_one_comes_back():
    publisher = MemoryPublisher(lambda key: key == "node.a")
    taken, lost, returned = post("node.a"), post("node.b"), post("node.b", mandatory=True)
    assert publisher.publish([taken, lost, returned]) == [returned]
    assert publisher.sent == [taken]


def test_it_fails_as_often_as_it_is_told_and_then_works():
    publisher = MemoryPublisher()
    publisher.failures = 2
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            publisher.publish([post("node.a")])
    publisher.publish([post("node.a")])
    assert (publisher.failures, len(publisher.sent)) == (0, 1)


def test_a_failure_may_lose_the_confirms_only():
    publisher = MemoryPublisher()
    publisher.failures, publisher.loses_confirms = 1, True
    with pytest.raises(BrokerUnavailableError):
        publisher.publish([post("node.a")])
    assert len(publisher.sent) == 1
