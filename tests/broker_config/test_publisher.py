"""The promise of a publisher: confirmed, or reported as not sent, on each broker."""

from __future__ import annotations

import threading
import time

import pytest
from kombu import Connection

from broker_config.app import make_app
from broker_config.errors import BrokerUnavailableError
from broker_config.memory_publisher import MemoryPublisher
from broker_config.publisher import Post, Publisher
from broker_config.rabbitmq.private import NEW_QUEUE_S
from broker_config.settings import Settings
from broker_config.topology import NODES, node_queue


@pytest.fixture
def settings(broker_url, tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path, broker_url=broker_url, confirm_timeout_s=5)


@pytest.fixture
def publisher(settings):
    publisher = Publisher(make_app("test", settings, queues=[], include=[]), confirm_timeout_s=5)
    yield publisher
    publisher.close()


@pytest.fixture
def channel(broker_url):
    with Connection(broker_url) as connection, connection.channel() as channel:
        for name in ("a", "b"):
            node_queue(name)(channel).declare()
        yield channel


def post(node="a", **fields):
    return Post(exchange=NODES.name, routing_key=f"node.{node}", **{"body": {"n": 1}, "mandatory": True, **fields})


def count(channel, node="a"):
    return channel.queue_declare(queue=f"node.{node}", passive=True).message_count


def get(channel, node="a"):
    return node_queue(node)(channel).get(no_ack=True, accept=["json"])


def test_a_batch_arrives_in_order(publisher, channel):
    assert publisher.publish([post(body={"n": n}) for n in range(50)]) == []
    bodies = [get(channel).payload for _ in range(50)]
    assert [body["n"] for body in bodies] == list(range(50))


def test_a_task_is_a_call_that_celery_understands(publisher, channel):
    publisher.publish([post(task="workers.generate", task_id="job/1", body={"assignment": {"x": 1}})])
    message = get(channel)
    assert message.headers["task"] == "workers.generate"
    assert message.headers["id"] == "job/1"
    assert message.payload[:2] == [[], {"assignment": {"x": 1}}]


def test_unroutable_mandatory_messages_are_returned_and_the_others_arrive(publisher, channel):
    posts = [post("a"), post("nowhere"), post("b"), post("nowhere-2")]
    assert publisher.publish(posts) == [posts[1], posts[3]]
    assert (count(channel, "a"), count(channel, "b")) == (1, 1)


def test_after_a_returned_message_confirms_are_still_in_step(publisher, channel):
    for _ in range(3):
        assert len(publisher.publish([post("nowhere"), post("a")])) == 1
        assert publisher.publish([post("a")]) == []
    assert count(channel) == 6


def test_an_unroutable_message_that_is_not_mandatory_is_dropped_silently(publisher, channel):
    assert publisher.publish([post("nowhere", mandatory=False)]) == []


def test_nothing_to_publish_needs_no_broker(tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path, broker_url="amqp://guest:guest@127.0.0.1:9//")
    publisher = Publisher(make_app("test", settings, queues=[], include=[]), confirm_timeout_s=1)
    assert publisher.publish([]) == []
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:9"):
        publisher.publish([post()])


def test_a_message_that_cannot_be_sent_does_not_spoil_the_next(publisher, channel):
    with pytest.raises(Exception, match=r".*"):
        publisher.publish([post(), post(body={"n": object()})])
    assert publisher.publish([post(body={"n": 2})]) == []


def test_several_threads_may_publish(publisher, channel):
    threads = [threading.Thread(target=lambda: [publisher.publish([post()]) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(channel) == 40


def test_it_connects_again_after_a_close(publisher, channel):
    publisher.publish([post()])
    publisher.close()
    publisher.publish([post()])
    assert count(channel) == 2


def test_a_message_may_expire(publisher, channel):
    publisher.publish([post(expires_s=0.001)])
    time.sleep(0.05)
    assert get(channel) is None


@pytest.mark.rabbitmq
def test_it_connects_again_when_the_broker_came_back(private_rabbitmq, tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path, broker_url=private_rabbitmq.url)
    publisher = Publisher(make_app("test", settings, queues=[], include=[]), confirm_timeout_s=5)
    with Connection(private_rabbitmq.url) as connection, connection.channel() as channel:
        node_queue("restarted")(channel).declare()
    publisher.publish([post("restarted")])
    private_rabbitmq.kill(after_s=NEW_QUEUE_S)
    try:
        with pytest.raises(BrokerUnavailableError):
            publisher.publish([post("restarted")])
    finally:
        private_rabbitmq.start()
    assert publisher.publish([post("restarted")]) == []
    with Connection(private_rabbitmq.url) as connection, connection.channel() as channel:
        assert count(channel, "restarted") == 2
        channel.queue_delete("node.restarted")
    publisher.close()


def test_the_memory_publisher_behaves_alike():
    publisher = MemoryPublisher(has_queue=lambda key: key == "node.a")
    posts = [post("a"), post("nowhere"), post("nowhere", mandatory=False)]
    assert publisher.publish(posts) == [posts[1]]
    assert publisher.sent == [posts[0]]
    publisher.failures = 1
    with pytest.raises(BrokerUnavailableError):
        publisher.publish(posts)
    assert publisher.sent == [posts[0]]
    publisher.failures, publisher.loses_confirms = 1, True
    with pytest.raises(BrokerUnavailableError):
        publisher.publish(posts)
    assert publisher.sent == [posts[0], posts[0]]
    assert publisher.publish(posts) == [posts[1]]
    publisher.close()
