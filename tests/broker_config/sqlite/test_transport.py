from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from amqp.exceptions import ChannelError, ConsumerCancelled, NotFound, PreconditionFailed, ResourceLocked
from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue

from broker_config.sqlite.file import BrokerFileBusy
from broker_config.sqlite.transport import path_of

JOBS = Exchange("ladle.jobs", type="topic")


def until(condition, what="nothing came"):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def get(channel, queue, **options):
    """basic.get, waiting a moment: RabbitMQ routes after the confirm."""
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        message = channel.basic_get(queue.name, **options)
        if message is not None:
            return channel.message_to_python(message)
        time.sleep(0.01)
    return None


@pytest.fixture
def connection(broker_url):
    with Connection(broker_url, transport_options={"confirm_publish": True}) as connection:
        yield connection


@pytest.fixture
def queue(connection):
    """A queue of its own on an exchange of its own."""
    name = uuid.uuid4().hex
    queue = Queue(name, Exchange(name, type="topic"), routing_key="job.#", durable=True)(connection.channel())
    queue.declare()
    yield queue
    with connection.channel() as channel:
        channel.queue_delete(name)


@pytest.fixture
def producer(connection, queue):
    return Producer(connection.channel(), exchange=queue.exchange, auto_declare=False, serializer="json")


class TestAsOnRabbitMQ:
    """The same test on both brokers: what Ladle relies on is the same."""

    def test_a_message_comes_back_as_it_was_sent(self, connection, queue, producer):
        producer.publish({"a": [1, "ü"]}, routing_key="job.x", headers={"id": "7", "n": 1}, correlation_id="c")
        message = get(connection.channel(), queue)
        assert message.decode() == {"a": [1, "ü"]}
        assert message.headers["id"] == "7"
        assert message.headers["n"] == 1
        assert message.content_type == "application/json"
        assert message.properties["correlation_id"] == "c"
        assert message.delivery_info["exchange"] == queue.exchange.name
        assert message.delivery_info["routing_key"] == "job.x"

    def test_bytes_come_back_as_bytes(self, connection, queue, producer):
        raw = bytes(range(256)) * 4096
        producer.publish(raw, routing_key="job.x", content_type="image/png", content_encoding="binary")
        assert bytes(get(connection.channel(), queue).body) == raw

    def test_an_unroutable_mandatory_message_raises_312(self, producer):
        with pytest.raises(ChannelError) as caught:
            producer.publish({}, routing_key="nobody", mandatory=True)
        assert caught.value.reply_code == 312

    def test_an_unroutable_message_vanishes(self, producer, queue, connection):
        producer.publish({}, routing_key="nobody")
        assert connection.channel().queue_declare(queue.name, passive=True).message_count == 0

    def test_an_unknown_exchange_raises_404(self, producer):
        with pytest.raises(NotFound):
            producer.publish({}, exchange="no-such-exchange", routing_key="x", mandatory=True)

    def test_the_nameless_exchange_reaches_the_queue_of_that_name(self, connection, queue, producer):
        producer.channel.basic_publish(
            producer.channel.prepare_message(b"x"), exchange="", routing_key=queue.name, mandatory=True
        )
        assert bytes(get(connection.channel(), queue).body) == b"x"

    def test_a_passive_declare_counts_the_ready_messages(self, connection, queue, producer):
        for _ in range(3):
            producer.publish({}, routing_key="job.x", mandatory=True)
        channel = connection.channel()
        assert channel.queue_declare(queue.name, passive=True).message_count == 3
        assert get(channel, queue) is not None
        assert connection.channel().queue_declare(queue.name, passive=True).message_count == 2

    def test_a_passive_declare_of_nothing_raises_404(self, connection):
        with pytest.raises(NotFound):
            connection.channel().queue_declare("no-such-queue", passive=True)

    def test_another_declaration_raises_406(self, connection, queue):
        with pytest.raises(PreconditionFailed):
            connection.channel().queue_declare(queue.name, durable=True, auto_delete=False, arguments={"x-expires": 9})
        with pytest.raises(PreconditionFailed):
            connection.channel().exchange_declare(queue.exchange.name, "fanout", durable=True)

    def test_purge_removes_what_nobody_holds(self, connection, queue, producer):
        for _ in range(3):
            producer.publish({}, routing_key="job.x", mandatory=True)
        channel = connection.channel()
        held = get(channel, queue)
        assert channel.queue_purge(queue.name) == 2
        held.requeue()
        assert get(channel, queue) is not None

    def test_a_requeued_message_keeps_its_place(self, connection, queue, producer):
        for number in range(3):
            producer.publish(number, routing_key="job.x", mandatory=True)
        channel = connection.channel()
        get(channel, queue).requeue()
        assert [get(channel, queue).decode() for _ in range(3)] == [0, 1, 2]

    def test_an_acknowledged_message_is_gone(self, connection, queue, producer):
        producer.publish({}, routing_key="job.x", mandatory=True)
        with connection.channel() as channel:
            get(channel, queue).ack()
        assert connection.channel().queue_declare(queue.name, passive=True).message_count == 0

    def test_what_a_closed_channel_held_is_free_again(self, connection, queue, producer):
        producer.publish({}, routing_key="job.x", mandatory=True)
        with connection.channel() as channel:
            assert get(channel, queue) is not None
        message = get(connection.channel(), queue)
        assert message.delivery_info["redelivered"]

    def test_an_expired_message_is_dropped_unread(self, connection, queue, producer):
        producer.publish("old", routing_key="job.x", expiration=0.05)
        producer.publish("new", routing_key="job.x")
        time.sleep(0.2)
        assert get(connection.channel(), queue).decode() == "new"

    def test_prefetch_bounds_what_a_channel_holds(self, connection, queue, producer):
        for number in range(3):
            producer.publish(number, routing_key="job.x", mandatory=True)
        held = []
        with Consumer(connection.channel(), [queue], on_message=held.append, prefetch_count=1, auto_declare=False):
            connection.drain_events(timeout=5)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.3)
            assert len(held) == 1
            held[0].ack()
            connection.drain_events(timeout=5)
            assert [message.decode() for message in held] == [0, 1]

    def test_an_auto_deleted_queue_goes_with_its_last_consumer(self, connection, queue):
        temporary = Queue(uuid.uuid4().hex, queue.exchange, routing_key="#", auto_delete=True)
        channel = connection.channel()
        with Consumer(channel, [temporary], on_message=print):
            assert channel.queue_declare(temporary.name, passive=True).consumer_count == 1
        with pytest.raises(NotFound):
            channel.queue_declare(temporary.name, passive=True)

    def test_an_exclusive_queue_is_closed_to_others_and_goes_with_its_connection(self, broker_url, connection):
        name = uuid.uuid4().hex
        with Connection(broker_url) as other:
            other.channel().queue_declare(name, exclusive=True)
            with pytest.raises(ResourceLocked):
                connection.channel().queue_declare(name, exclusive=True)
        with pytest.raises(NotFound):
            connection.channel().queue_declare(name, passive=True)

    def test_fanout_reaches_every_queue(self, connection):
        fan = Exchange(uuid.uuid4().hex, type="fanout", durable=False)
        channel = connection.channel()
        queues = [Queue(uuid.uuid4().hex, fan, exclusive=True)(channel) for _ in range(2)]
        for one in queues:
            one.declare()
        Producer(channel, exchange=fan).publish("hello", routing_key="whatever")
        assert [get(channel, one).decode() for one in queues] == ["hello", "hello"]

    def test_a_batch_arrives_whole_and_names_the_unroutable_one(self, connection, queue, producer):
        with producer.batch():
            producer.publish(1, routing_key="job.x", mandatory=True)
            with pytest.raises(ChannelError):
                producer.publish(2, routing_key="nobody", mandatory=True)
            producer.publish(3, routing_key="job.x", mandatory=True)
        channel = connection.channel()
        assert [get(channel, queue).decode() for _ in range(2)] == [1, 3]

    def test_an_unbound_queue_gets_nothing(self, connection, queue, producer):
        queue.unbind_from(queue.exchange, routing_key="job.#")
        with pytest.raises(ChannelError):
            producer.publish({}, routing_key="job.x", mandatory=True)

    def test_a_single_active_consumer_reads_alone_until_it_goes(self, broker_url, connection):
        name = uuid.uuid4().hex
        only = Queue(
            name, Exchange(name, type="topic"), routing_key="#", queue_arguments={"x-single-active-consumer": True}
        )
        first, second = [], []
        with Connection(broker_url) as standby_connection:
            active = Consumer(connection.channel(), [only], on_message=first.append, no_ack=True)
            active.consume()
            standby = Consumer(standby_connection.channel(), [only], on_message=second.append, no_ack=True)
            standby.consume()
            producer = Producer(connection.channel(), exchange=only.exchange)
            producer.publish(1, routing_key="x")
            with pytest.raises(TimeoutError):
                standby_connection.drain_events(timeout=0.3)
            connection.drain_events(timeout=5)
            active.cancel()
            producer.publish(2, routing_key="x")
            standby_connection.drain_events(timeout=5)
            assert [m.decode() for m in first] == [1]
            assert [m.decode() for m in second] == [2]
            standby.cancel()
            connection.channel().queue_delete(name)


class TestOnlyHere:
    """What the SQLite transport says in its own words."""

    def test_no_header_means_first_delivery_zero(self, sqlite_url):
        with Connection(sqlite_url) as connection:
            queue = Queue("q", JOBS, routing_key="#")(connection.channel())
            queue.declare()
            Producer(connection.channel()).publish({}, exchange=JOBS, routing_key="a")
            counts = []
            for _ in range(3):
                message = queue.get()
                counts.append(message.headers["x-delivery-count"])
                message.requeue()
            assert counts == [0, 1, 2]

    def test_a_deleted_queue_tells_its_consumer(self, sqlite_url):
        with Connection(sqlite_url) as connection, Connection(sqlite_url) as other:
            with Consumer(connection.channel(), [Queue("q", JOBS, routing_key="#")], on_message=print):
                other.channel().queue_delete("q")
                with pytest.raises(ConsumerCancelled):
                    connection.drain_events(timeout=5)

    def test_an_aborted_batch_stores_nothing(self, sqlite_url):
        with Connection(sqlite_url) as connection:
            queue = Queue("q", JOBS, routing_key="#")(connection.channel())
            queue.declare()
            producer = Producer(connection.channel(), exchange=JOBS)
            with pytest.raises(NotFound), producer.batch():  # noqa: PT012
                producer.publish(1, routing_key="a")
                producer.publish(2, routing_key="a", exchange="no-such-exchange")
            assert queue.get() is None

    def test_an_ack_that_fails_ends_the_connection_and_the_message_comes_again(self, sqlite_url):
        held = []
        with Connection(sqlite_url, transport_options={"lock_timeout_s": 0.1}) as connection:
            queue = Queue("q", JOBS, routing_key="#")
            with Consumer(connection.channel(), [queue], on_message=held.append, prefetch_count=1):
                Producer(connection.channel()).publish({}, exchange=JOBS, routing_key="a")
                connection.drain_events(timeout=5)
                with closing(sqlite3.connect(path_of(sqlite_url))) as other:
                    other.execute("BEGIN IMMEDIATE")
                    with pytest.raises(BrokerFileBusy):
                        held[0].ack()
                with pytest.raises(connection.recoverable_connection_errors):
                    connection.drain_events(timeout=5)
        with Connection(sqlite_url) as connection:
            assert queue(connection.channel()).get().headers["x-delivery-count"] == 1

    def test_bindings_are_listed(self, sqlite_url):
        with Connection(sqlite_url) as connection:
            Queue("q", JOBS, routing_key="#")(connection.channel()).declare()
            assert connection.get_manager().get_bindings() == [
                {"destination": "q", "source": "ladle.jobs", "routing_key": "#"}
            ]

    def test_the_url_is_shown_as_written(self, sqlite_url):
        assert Connection(sqlite_url).as_uri() == sqlite_url

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "amqp://localhost//", "sqlite://host/x.db"])
    def test_a_url_without_a_path_is_refused(self, url):
        with pytest.raises(ValueError, match="/absolute/path"):
            path_of(url)

    def test_three_slashes_are_relative_and_four_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert path_of("sqlite:///a/b.db") == tmp_path / "a" / "b.db"
        assert path_of("sqlite:////a/b.db") == Path("/a/b.db")


class Workers:
    def __init__(self, url, folder):
        self.url, self.output = url, folder / "output"
        self.output.touch()
        self.app = Celery("sender", broker=url, set_as_current=False)
        self.app.conf.update(task_queues=[Queue("planner", JOBS, routing_key="#")], task_default_queue="planner")
        self.processes = []

    def start(self):
        name = f"w{len(self.processes)}@%h"
        options = ["-P", "threads", "-c", "1", "-n", name, "--without-gossip", "--without-mingle"]
        with self.output.with_suffix(".log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "leased_worker", "worker", *options],
                cwd=Path(__file__).parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TEST_BROKER_URL": self.url, "TEST_OUTPUT": str(self.output)},
            )
        self.processes.append(process)
        return process

    def send(self, token, seconds=0.0):
        self.app.send_task("work", (token, seconds), exchange=JOBS.name, routing_key="submit", retry=False)

    def lines(self, kind):
        return [line.split()[1:] for line in self.output.read_text().splitlines() if line.startswith(kind)]

    def declare(self):
        with Connection(self.url) as connection:
            Queue("planner", JOBS, routing_key="#")(connection.channel()).declare()


@pytest.fixture
def workers(sqlite_url, tmp_path):
    started = Workers(sqlite_url, tmp_path)
    started.declare()
    yield started
    for process in started.processes:
        process.kill()
        process.wait()


class TestWithRealWorkers:
    def test_a_killed_workers_job_is_delivered_again_with_its_count(self, workers):
        victim = workers.start()
        workers.send("slow", 60)
        until(lambda: workers.lines("start"))
        heir = workers.start()
        until(lambda: len(workers.app.control.ping(timeout=0.5)) == 2)
        victim.kill()
        until(lambda: len(workers.lines("start")) == 2)
        assert workers.lines("start") == [["slow", "0", str(victim.pid)], ["slow", "1", str(heir.pid)]]

    def test_a_restarted_worker_finds_its_own_job_again(self, workers):
        victim = workers.start()
        workers.send("slow", 2)
        until(lambda: workers.lines("start"))
        victim.kill()
        victim.wait()
        workers.start()
        until(lambda: workers.lines("end"))
        assert [line[1] for line in workers.lines("start")] == ["0", "1"]

    def test_sigterm_lets_the_running_job_finish_and_frees_the_rest(self, workers):
        worker = workers.start()
        workers.send("running", 2)
        workers.send("next", 0)
        until(lambda: workers.lines("start"))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
        assert [line[0] for line in workers.lines("end")] == ["running"]
        with Connection(workers.url) as connection:
            assert connection.channel().queue_declare("planner", passive=True).message_count == 1

    def test_each_job_runs_once_on_one_of_three_workers_and_control_answers(self, workers):
        for _ in range(3):
            workers.start()
        until(lambda: len(workers.app.control.ping(timeout=0.5)) == 3)
        for number in range(300):
            workers.send(number)
        until(lambda: len(workers.lines("end")) == 300)
        tokens, counts, pids = zip(*workers.lines("start"), strict=True)
        assert sorted(map(int, tokens)) == list(range(300))
        assert set(counts) == {"0"}
        assert len(set(pids)) > 1

    def test_a_damaged_file_stops_the_worker_with_a_sentence(self, workers):
        path_of(workers.url).write_bytes(b"rubbish" * 1000)
        worker = workers.start()
        assert worker.wait(timeout=60) != 0
        assert "move the file away" in workers.output.with_suffix(".log").read_text()

    def test_a_killed_worker_leaves_no_control_queue(self, workers):
        worker = workers.start()
        until(lambda: workers.app.control.ping(timeout=0.5))
        worker.kill()
        worker.wait()
        with Connection(workers.url) as connection, watching(connection):
            pidboxes = "SELECT name FROM queue WHERE name LIKE '%pidbox'"
            until(lambda: drained(connection) and not connection.connection.session.file.read(pidboxes))


@contextmanager
def watching(connection):
    """Consume something, as any living process of an installation does."""
    with Consumer(connection.channel(), [Queue("planner", JOBS, routing_key="#")], on_message=print):
        yield


def drained(connection):
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    return True
