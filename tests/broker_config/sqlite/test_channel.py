"""AMQP's verbs on a broker file, one channel at a time; several processes are in test_transport."""

from __future__ import annotations

import pytest
from amqp.exceptions import ChannelError, NotFound, PreconditionFailed
from kombu import Connection, Exchange, Producer, Queue

JOBS = Exchange("jobs", type="topic")


@pytest.fixture
def channel(sqlite_url):
    with Connection(sqlite_url) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture
def queue(channel):
    bound = Queue("q", JOBS, routing_key="a.#")(channel)
    bound.declare()
    return bound


def publish(channel, key, body, **options):
    Producer(channel).publish(body, exchange=JOBS, routing_key=key, **options)


def test_a_message_is_claimed_acknowledged_and_gone(channel, queue):
    publish(channel, "a.b", {"x": 1})
    message = queue.get()
    assert message.decode() == {"x": 1}
    assert (message.headers["x-delivery-count"], message.delivery_info["redelivered"]) == (0, False)
    assert queue.get() is None
    message.ack()
    assert channel.queue_declare("q", passive=True).message_count == 0


def test_a_message_given_back_comes_again_and_counts(channel, queue):
    publish(channel, "a.b", {})
    queue.get().requeue()
    again = queue.get()
    assert (again.headers["x-delivery-count"], again.delivery_info["redelivered"]) == (1, True)


def test_a_message_for_no_queue_is_dropped_and_a_mandatory_one_refused(channel, queue):
    publish(channel, "b", {})
    with pytest.raises(ChannelError, match="312"):
        publish(channel, "b", {}, mandatory=True)
    assert queue.get() is None


def test_a_batch_is_stored_whole_at_its_end(channel, queue):
    producer = Producer(channel)
    with producer.batch():
        for number in range(3):
            producer.publish(number, exchange=JOBS, routing_key="a.b", serializer="json")
        assert channel.queue_declare("q", passive=True).message_count == 0
    assert [queue.get().decode() for _ in range(3)] == [0, 1, 2]


def test_asking_for_what_is_not_there_is_an_error_and_makes_nothing(channel):
    with pytest.raises(NotFound, match="no queue 'x'"):
        channel.queue_declare("x", passive=True)
    with pytest.raises(NotFound, match="'x'"):
        channel.exchange_declare("x", passive=True)


def test_a_queue_is_deleted_under_the_conditions_given(channel, queue):
    publish(channel, "a.b", {})
    with pytest.raises(PreconditionFailed, match="1 messages"):
        channel.queue_delete("q", if_empty=True)
    assert channel.queue_purge("q") == 1
    channel.queue_delete("q", if_empty=True, if_unused=True)
    with pytest.raises(NotFound):
        channel.queue_declare("q", passive=True)


def test_bindings_are_listed_and_undone(channel, queue):
    assert list(channel.list_bindings()) == [("q", "jobs", "a.#")]
    queue.unbind_from(JOBS, routing_key="a.#")
    assert list(channel.list_bindings()) == []


def test_what_a_closed_channel_held_is_there_again(sqlite_url, channel, queue):
    publish(channel, "a.b", {})
    with Connection(sqlite_url) as other, other.channel() as reader:
        assert queue.bind(reader).get() is not None
        assert queue.get() is None
    assert queue.get() is not None
