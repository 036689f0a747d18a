from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from amqp.exceptions import ChannelError, ResourceLocked
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_config.sqlite import topology
from broker_config.sqlite.file import BrokerFileBusy
from broker_config.sqlite.message import Outgoing
from broker_config.sqlite.queue import QueueSession

TAKE = """
import sys, pathlib
from broker_config.sqlite.queue import QueueSession
session = QueueSession(pathlib.Path(sys.argv[1]))
while (claimed := session.claim("q")) is not None:
    print(claimed.body.decode())
    session.ack(claimed.id)
session.close()
"""
HOLD = """
import sys, pathlib, time
from broker_config.sqlite.queue import QueueSession
session = QueueSession(pathlib.Path(sys.argv[1]))
session.declare_queue("mine", durable=False, exclusive=True, auto_delete=False, arguments={})
session.consume("q", "tag")
session.claim("q")
print("held", flush=True)
time.sleep(600)
"""


def outgoing(body=b"", *, key="k", exchange="x", mandatory=False, **properties):
    envelope = {
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_info": {"exchange": exchange, "routing_key": key}, **properties},
    }
    return Outgoing(envelope=envelope, body=body, exchange=exchange, routing_key=key, mandatory=mandatory)


def declare(session, name, key="#", exchange="x", **arguments):
    session.declare_queue(name, durable=True, exclusive=False, auto_delete=False, arguments=arguments)
    session.change(topology.declare_exchange, exchange, "topic")
    session.change(topology.bind, name, exchange, key)


@pytest.fixture
def path(tmp_path):
    with closing(QueueSession(tmp_path / "broker.db")) as session:
        declare(session, "q")
        declare(session, "dead", exchange="ladle.dead")
    return tmp_path / "broker.db"


@pytest.fixture
def warnings_seen(caplog):
    # A worker that an earlier test ran in this process has raised the root logger's level.
    caplog.set_level(logging.WARNING, logger="broker_config.sqlite.queue")
    return caplog


@pytest.fixture
def session(path):
    with closing(QueueSession(path)) as session:
        yield session


@contextmanager
def holder(path):
    """Another process that holds a message, a consumer and an exclusive queue."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_messages_come_in_order(session):
    session.publish(outgoing(str(n).encode()) for n in range(5))
    assert [session.claim("q").body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert session.claim("q") is None


def test_a_claimed_message_is_hidden_until_given_back(session, path):
    session.publish([outgoing()])
    with closing(QueueSession(path)) as other:
        held = other.claim("q")
        assert session.claim("q") is None
        assert session.counts("q") == (0, 0)
        other.reject(held.id, requeue=True)
        assert session.claim("q").earlier_deliveries == 1


def test_a_closed_session_gives_everything_back_in_place(session, path):
    session.publish(outgoing(str(n).encode()) for n in range(3))
    with closing(QueueSession(path)) as other:
        other.claim("q")
        other.claim("q")
    assert [session.claim("q").body for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_killed_process_gives_everything_back(session, path):
    session.publish([outgoing(b"held")])
    with holder(path) as process:
        session.reap()
        assert session.claim("q") is None
        assert session.counts("q") == (0, 1)
        with pytest.raises(ResourceLocked):
            session.declare_queue("mine", durable=False, exclusive=True, auto_delete=False, arguments={})
        process.kill()
        process.wait()
        session.declare_queue("mine", durable=False, exclusive=True, auto_delete=False, arguments={})
        claimed = session.claim("q")
        assert claimed.body == b"held"
        assert claimed.earlier_deliveries == 1
        assert session.counts("q") == (0, 0)


def test_a_stopped_process_keeps_what_it_holds(session, path):
    session.publish([outgoing()])
    with holder(path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        session.reap()
        assert session.claim("q") is None


def test_a_message_that_kills_its_fifth_worker_is_buried_after_the_fourth(session):
    session.publish([outgoing(b"poison", key="node.a", expiration="60000")])
    for count in range(4):
        claimed = session.claim("q")
        assert claimed.earlier_deliveries == count
        session.reject(claimed.id, requeue=True)
    assert session.claim("q") is None
    dead = session.claim("dead")
    assert dead.body == b"poison"
    assert dead.earlier_deliveries == 0
    headers = dead.envelope["headers"]
    assert headers["x-first-death-reason"] == "delivery_limit"
    assert headers["x-first-death-queue"] == "q"
    assert headers["x-first-death-exchange"] == "x"
    assert headers["x-death"][0]["routing-keys"] == ["node.a"]
    assert dead.envelope["properties"]["delivery_info"] == {"exchange": "ladle.dead", "routing_key": "node.a"}
    assert "expiration" not in dead.envelope["properties"]


def test_a_queue_may_have_a_limit_of_its_own(path):
    with closing(QueueSession(path, delivery_limit=0, delivery_limits={"^q$": 1, "": 5})) as session:
        session.publish([outgoing()])
        for _ in range(2):
            session.reject(session.claim("q").id, requeue=True)
        assert session.claim("q") is None
        assert session.claim("dead") is not None


def test_a_standby_never_asks_for_the_write_lock(session, path):
    declare(session, "sac", **{"x-single-active-consumer": True})
    session.publish([outgoing()])
    with closing(QueueSession(path)) as standby:
        session.consume("sac", "t")
        standby.consume("sac", "t")
        with session.file.write():
            assert standby.claim("sac") is None


def test_a_rejected_message_is_buried_at_once(session):
    session.publish([outgoing(b"bad")])
    session.reject(session.claim("q").id, requeue=False)
    assert session.claim("dead").envelope["headers"]["x-death"][0]["reason"] == "rejected"


def test_a_message_that_dies_among_the_dead_is_dropped(session, warnings_seen):
    session.publish([outgoing(exchange="ladle.dead")])
    session.reject(session.claim("dead").id, requeue=False)
    assert session.claim("dead") is None
    assert "dropped" in warnings_seen.text


def test_without_a_dead_letter_queue_it_is_dropped_with_a_warning(tmp_path, warnings_seen):
    with closing(QueueSession(tmp_path / "broker.db")) as session:
        declare(session, "q")
        session.publish([outgoing()])
        session.reject(session.claim("q").id, requeue=False)
    assert "no dead-letter queue" in warnings_seen.text


def test_an_ack_after_the_claim_ended_deletes_nothing(session, path, warnings_seen):
    session.publish([outgoing(b"one")])
    held = session.claim("q")
    session.release([held.id])
    with closing(QueueSession(path)) as other:
        assert other.claim("q").id == held.id
        session.ack(held.id)
        assert "after its claim had ended" in warnings_seen.text
    assert session.claim("q").body == b"one"


def test_a_no_ack_claim_is_gone(session, path):
    session.publish([outgoing()])
    claimed = session.claim("q", no_ack=True)
    assert claimed.earlier_deliveries == 0
    session.close()
    with closing(QueueSession(path)) as other:
        assert other.claim("q") is None


@pytest.mark.parametrize("arguments", [{}, {"x-message-ttl": 30}])
def test_an_expired_message_is_swept(tmp_path, arguments):
    with closing(QueueSession(tmp_path / "broker.db")) as session:
        declare(session, "q", **arguments)
        session.publish([outgoing(**({} if arguments else {"expiration": "30"}))])
        time.sleep(0.05)
        assert session.counts("q") == (0, 0)
        assert session.claim("q") is None
        session.reap()
        assert session.file.read("SELECT count(*) FROM message") == [(0,)]


def test_an_unused_queue_with_an_expiry_is_swept_and_a_used_one_is_not(session):
    declare(session, "unused", **{"x-expires": 30})
    declare(session, "used", **{"x-expires": 30})
    session.consume("used", "tag")
    time.sleep(0.05)
    session.reap()
    names = {name for (name,) in session.file.read("SELECT name FROM queue")}
    assert names == {"q", "dead", "used"}


def test_a_topology_that_grows_while_it_is_read_is_seen_as_of_one_moment(session, path, monkeypatch):
    # Given another process that declares an exchange between two reads of this one
    read = session.file.read

    def interrupted(sql, *parameters):
        rows = read(sql, *parameters)
        if "FROM exchange" in sql and "late" not in str(rows):
            declare(other, "later", exchange="late")
        return rows

    monkeypatch.setattr(session.file, "read", interrupted)
    with closing(QueueSession(path)) as other:
        # When this one looks where a message goes
        session.require_route(outgoing(mandatory=True))
    # Then it knows nothing of the new exchange yet, and the next time all of it
    session.require_route(outgoing(exchange="late", mandatory=True))
    assert session.claim("later") is None


def test_a_batch_with_an_unroutable_message_stores_nothing(session):
    declare(session, "y", key="only.this", exchange="y")
    with pytest.raises(ChannelError):
        session.publish([outgoing(), outgoing(exchange="y", mandatory=True)])
    assert session.counts("q") == (0, 0)


def test_the_next_consumer_takes_over_a_single_active_queue(session, path):
    declare(session, "sac", **{"x-single-active-consumer": True})
    session.publish(outgoing(str(n).encode()) for n in range(2))
    with closing(QueueSession(path)) as first:
        first.consume("sac", "t")
        session.consume("sac", "t")
        assert session.claim("sac") is None
        assert first.claim("sac").body == b"0"
    assert session.claim("sac").body == b"0"


def test_a_killed_active_consumer_is_replaced(session, path):
    session.change(topology.delete_queue, "q")
    declare(session, "q", **{"x-single-active-consumer": True})
    session.publish(outgoing(str(n).encode()) for n in range(2))
    with holder(path) as process:
        session.consume("q", "t")
        assert session.claim("q") is None
        process.kill()
        process.wait()
        session.reap()
        assert session.claim("q").body == b"0"


def test_processes_share_ten_thousand_messages_and_none_gets_two_of_one(session, path):
    session.publish(outgoing(str(n).encode()) for n in range(10_000))
    takers = [subprocess.Popen([sys.executable, "-c", TAKE, str(path)], stdout=subprocess.PIPE) for _ in range(3)]
    taken = [taker.communicate()[0].split() for taker in takers]
    assert sorted(int(n) for part in taken for n in part) == list(range(10_000))
    for part in taken:
        assert [int(n) for n in part] == sorted(int(n) for n in part)
    assert session.counts("q") == (0, 0)


def test_threads_share_one_session(session):
    session.publish(outgoing(str(n).encode()) for n in range(400))
    taken: list[int] = []

    def take():
        while (claimed := session.claim("q")) is not None:
            taken.append(int(claimed.body))
            session.ack(claimed.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(400))


def test_a_closed_session_takes_no_new_lease(path):
    session = QueueSession(path)
    session.publish([outgoing()])
    session.claim("q")
    session.close()
    session.close()
    with pytest.raises(BrokerFileBusy):
        session.ack(1)
    assert list(path.with_name("broker.db-leases").iterdir()) == []


class Queueing(RuleBasedStateMachine):
    """Two sessions against a plain list: nothing is lost, doubled, or out of place."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "broker.db"
        self.sessions = [self.open(), self.open()]
        declare(self.sessions[0], "q")
        self.ready: list[int] = []
        self.held: list[dict[int, int]] = [{}, {}]
        self.next = 0

    def open(self):
        return QueueSession(self.path, delivery_limit=10**6)

    @rule(who=st.integers(0, 1), many=st.integers(1, 3))
    def publish(self, who, many):
        numbers = range(self.next, self.next + many)
        self.next += many
        self.sessions[who].publish(outgoing(str(n).encode()) for n in numbers)
        self.ready += numbers

    @rule(who=st.integers(0, 1))
    def claim(self, who):
        claimed = self.sessions[who].claim("q")
        if not self.ready:
            assert claimed is None
        else:
            number = self.ready.pop(0)
            assert int(claimed.body) == number
            self.held[who][number] = claimed.id

    @precondition(lambda self: any(self.held))
    @rule(who=st.integers(0, 1), pick=st.integers(0, 99), requeue=st.booleans())
    def settle(self, who, pick, requeue):
        if self.held[who]:
            number = sorted(self.held[who])[pick % len(self.held[who])]
            message = self.held[who].pop(number)
            if requeue:
                self.sessions[who].reject(message, requeue=True)
                self.ready = sorted([*self.ready, number])
            else:
                self.sessions[who].ack(message)

    @rule(who=st.integers(0, 1))
    def reopen(self, who):
        self.sessions[who].close()
        self.sessions[who] = self.open()
        self.ready = sorted([*self.ready, *self.held[who]])
        self.held[who].clear()

    @invariant()
    def counts_agree(self):
        assert self.sessions[0].counts("q")[0] == len(self.ready)

    def teardown(self):
        for session in self.sessions:
            session.close()
        self.folder.cleanup()


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
