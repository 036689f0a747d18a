"""What only RabbitMQ can do to a site: freeze, fill up, lose a queue, lose patience (docs/faults.md)."""

from __future__ import annotations

import datetime
import struct
from calendar import timegm
from contextlib import contextmanager

import pytest
from amqp import Message
from ladle_site import PATIENCE_S, wait_until
from severable_link import SeverableLink

from broker_config.errors import BrokerUnavailableError
from broker_config.topology import node_queue

pytestmark = pytest.mark.rabbitmq

LONG = {"prompt": "x", "num_inference_steps": 500, "size": "128x128"}  # 8 s
LAST_DAY = datetime.datetime(9999, 12, 31)
SHORT = {"prompt": "x", "num_inference_steps": 50}


@pytest.fixture
def site(make_site, private_vhost_url):
    return make_site(broker_url=private_vhost_url, confirm_timeout_s=2, placer="round-robin")


def results(site, job):
    return [attempt["result"] for attempt in site.attempts(job)]


class Hostile(Message):
    """A message whose date in the headers is replaced by any 8 bytes, as no client library would write them."""

    value = b""

    def _serialize_properties(self):
        return super()._serialize_properties().replace(struct.pack(">Q", timegm(LAST_DAY.utctimetuple())), self.value)


@pytest.mark.fault(18, "R")
def test_headers_that_python_cannot_decode_stop_neither_planner_nor_client(site):
    # Given a planner and a client that waits for a job
    site.start("a")
    site.wait_for_node("a", "READY")
    planner = site.running["planner"]
    letters = len(site.dead_letters())
    with site.client() as client:
        handle = client.submit(**SHORT)
        wait_until(lambda: site.rows(handle.job), "it is accepted")
        events = ("ladle.events", f"job.{site.rows(handle.job)[0]['client']}.done")
        # When messages come whose headers hold a date that Python has not, to the planner and to the client
        with site.connection() as connection, connection.channel() as channel:
            channel.confirm_select()
            for seconds in (2**40, 2**62):
                message = Hostile(b"x", application_headers={"at": LAST_DAY})
                message.value = struct.pack(">Q", seconds)
                for exchange, key in (("ladle.jobs", "submit"), ("ladle.dead", "dead.x"), events):
                    channel.basic_publish_confirm(message, exchange=exchange, routing_key=key)
        # Then the next job is drawn, and what came to the planner lies among the dead letters
        assert handle.result(PATIENCE_S).node == "a"
        assert client.submit(**SHORT).result(PATIENCE_S).node == "a"
    wait_until(lambda: len(site.dead_letters()) == letters + 4, "four dead letters")
    assert planner.is_alive
    assert planner.log.count("Connected to") == 1


@pytest.mark.fault(5, "R")
@pytest.mark.slow_fault  # a frozen connection is given up after two heartbeats: 30 s
def test_a_worker_whose_connection_freezes_in_mid_generation_comes_back_and_the_job_has_one_outcome(site):
    site.start("b")
    with SeverableLink(site.settings.broker_url) as link, site.client() as client:
        # Given a job that runs on a node beyond a link
        worker = site.start_worker("a", broker_url=link.url)
        for name in ("a", "b"):
            site.wait_for_node(name, "READY")
        handles = client.submit_many([LONG] * 2)
        wait_until(lambda: {site.state(handle.job) for handle in handles} == {"RUNNING"}, "both run")
        connections = worker.log.count("Connected to")
        # When the link carries nothing more, and neither end is told
        link.freeze()
        site.wait_for_node("a", "GONE")
        wait_until(lambda: "onnection to broker lost" in worker.log, "the worker notices")
        link.heal()
        # Then the worker lives, connects again, and each job has one outcome and one image
        wait_until(lambda: worker.log.count("Connected to") > connections, "the worker is back")
        site.wait_for_node("a", "READY")
        for handle in handles:
            handle.result(PATIENCE_S)
        assert worker.is_alive
        assert sorted(results(site, handle.job).count("done") for handle in handles) == [1, 1]
        assert len(site.images()) == 2
        client.drain("b")
        assert client.submit(**SHORT).result(PATIENCE_S).node == "a"


@contextmanager
def disk_alarm(broker):
    """The broker believes that its disk is full."""
    broker.rabbitmqctl("set_disk_free_limit", "1000000GB")
    try:
        yield
    finally:
        broker.rabbitmqctl("set_disk_free_limit", "50MB")


@pytest.mark.fault(14, "R")
def test_under_a_disk_alarm_publishing_gives_up_and_what_was_accepted_waits_for_its_end(site, private_rabbitmq):
    site.start("a")
    site.wait_for_node("a", "READY")
    site.running["planner"].kill()
    with site.client() as client, site.client() as other:
        accepted = client.submit(**SHORT)
        with disk_alarm(private_rabbitmq):
            # When there is an alarm, nobody hangs: a client is told, the planner keeps the attempt in its outbox
            with pytest.raises(BrokerUnavailableError, match=r"no confirm within 2 s \(disk or memory alarm\?\)"):
                other.submit(**SHORT, idempotency_key="again")
            planner = site.start_planner()
            wait_until(lambda: "assignments stay in the outbox" in planner.log, "the planner gives up")
            site.wait_for_state(accepted.job, "WAITING")  # its node is not heard either
        # Then it goes on by itself
        accepted.result(PATIENCE_S)
        other.submit(**SHORT, idempotency_key="again").result(PATIENCE_S)
        assert planner.is_alive
    assert results(site, accepted.job).count("done") == 1
    assert results(site, "again") == ["done"]


@pytest.mark.fault(20, "R")
def test_an_attempt_for_a_node_whose_queue_is_gone_is_noticed_and_placed_elsewhere(make_site, private_vhost_url):
    site = make_site(broker_url=private_vhost_url, placer="round-robin", node_timeout_s=120)
    site.start("a", "b")
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    site.running["a"].kill()
    delete_queue(site, "a")
    with site.client() as client:
        handles = client.submit_many([SHORT] * 4)
        assert {handle.result(PATIENCE_S).node for handle in handles} == {"b"}
    assert site.node_states()["a"] == "GONE"
    assert "its queue does not exist" in site.running["planner"].log
    tried = [results(site, handle.job) for handle in handles]
    assert ["lost", "done"] in tried
    assert all(one in (["done"], ["lost", "done"]) for one in tried)


@pytest.mark.fault(20, "R")
def test_a_queue_deleted_under_its_worker_costs_no_job(make_site, private_vhost_url):
    site = make_site(broker_url=private_vhost_url, node_timeout_s=120)
    site.start("a")
    site.wait_for_node("a", "READY")
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x", "num_inference_steps": 250}] * 4)
        wait_until(lambda: "RUNNING" in {site.state(handle.job) for handle in handles}, "one runs")
        delete_queue(site, "a")  # and the message of the next attempt with it
        for handle in handles:
            handle.result(PATIENCE_S)
    assert site.running["a"].is_alive
    assert all(results(site, handle.job) == ["done"] for handle in handles)
    assert len(site.images()) == 4


def delete_queue(site, node):
    with site.connection() as connection, connection.channel() as channel:
        node_queue(node)(channel).delete()


@pytest.fixture
def impatient_rabbitmq(private_rabbitmq):
    """Gives a worker 3 s to acknowledge, and looks every second."""
    private_rabbitmq.rabbitmqctl("eval", "application:set_env(rabbit, consumer_timeout, 3000).")
    private_rabbitmq.rabbitmqctl("eval", "application:set_env(rabbit, channel_tick_interval, 1000).")
    yield
    private_rabbitmq.rabbitmqctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    private_rabbitmq.rabbitmqctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")


@pytest.mark.fault(29, "R")
@pytest.mark.usefixtures("impatient_rabbitmq")
def test_a_job_longer_than_the_acknowledgement_timeout_has_one_outcome(site, private_rabbitmq):
    site.start("a")
    site.wait_for_node("a", "READY")
    with site.client() as client:
        handle = client.submit(**LONG)
        handle.result(PATIENCE_S)
        assert client.submit(**SHORT).result(PATIENCE_S).node == "a"
    assert "delivery acknowledgement on channel" in site.running["a"].log
    assert results(site, handle.job).count("done") == 1
    assert len(site.attempts(handle.job)) <= site.settings.max_attempts
    assert len(list((site.folder / "images" / handle.job).iterdir())) == 1
