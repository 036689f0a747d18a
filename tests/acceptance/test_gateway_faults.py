"""The HTTP gateway while what it stands on dies: no request is lost, and none is drawn twice."""

from __future__ import annotations

import concurrent.futures
import time

import pytest
from gateway_server import serving
from ladle_site import wait_until

IMAGES = "/v1/images/generations"
REQUESTS = 20
FIELDS = {"prompt": "x", "size": "128x128", "num_inference_steps": 10}  # 0.16 s each


def ready_site(make_site, broker_url):
    """A planner and one node."""
    site = make_site(broker_url=broker_url)
    site.start("a")
    site.wait_for_node("a", "READY")
    return site


def all_drawn_once(site, gateway, injure):
    """Ask for images, do harm when the first is there, and see that every request gets one of its own job."""
    with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
        asked = [pool.submit(gateway.ask, IMAGES, FIELDS) for _ in range(REQUESTS)]
        wait_until(lambda: any(one.done() for one in asked), "the first image")
        injure()
        answers = [one.result() for one in asked]
    assert [answer.status for answer in answers] == [200] * REQUESTS
    jobs = [answer.json["ladle"]["job"] for answer in answers]
    assert len(set(jobs)) == REQUESTS
    assert len(site.images()) == REQUESTS
    with site.ledger.transaction() as connection:
        assert len(site.ledger.recent_jobs(connection, 10 * REQUESTS)) == REQUESTS


@pytest.mark.rabbitmq
def test_the_broker_is_killed(make_site, private_rabbitmq, private_vhost_url):
    site = ready_site(make_site, private_vhost_url)

    def injure():
        private_rabbitmq.kill()
        time.sleep(1.0)  # the requests that wait notice nothing
        private_rabbitmq.start()

    with serving(site.settings) as gateway:
        all_drawn_once(site, gateway, injure)


def test_the_planner_is_killed(make_site, own_broker_url):
    site = ready_site(make_site, own_broker_url)

    def injure():
        site.running["planner"].kill()
        site.start_planner()

    with serving(site.settings) as gateway:
        all_drawn_once(site, gateway, injure)


def test_a_gateway_ends_and_its_requests_are_sent_to_another_with_their_keys(make_site, own_broker_url):
    site = ready_site(make_site, own_broker_url)
    with serving(site.settings) as doomed:
        gone = [doomed.begin(IMAGES, FIELDS, idempotency_key=f"order-{number}") for number in range(REQUESTS)]
        wait_until(lambda: site.images(), "the first image")
    for connection in gone:
        connection.close()
    with serving(site.settings) as other, concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
        keys = [f"order-{number}" for number in range(REQUESTS)]
        answers = list(pool.map(lambda key: other.ask(IMAGES, FIELDS, idempotency_key=key), keys))
    assert [answer.status for answer in answers] == [200] * REQUESTS
    assert len(site.images()) == REQUESTS
