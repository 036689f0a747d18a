"""The planner as a Celery app. Running, it is in tests/acceptance."""

from __future__ import annotations

import pytest
from image_requests import an_image_request
from still_pool import StillPool

from broker_config.calls import TO_PLANNER, Cancel, Submit
from broker_config.topology import PLANNER_QUEUES
from planner import celery as planner_app
from planner.inbox.authorship import Received
from planner.inbox.batch import BatchTask


@pytest.fixture
def running(world, monkeypatch):
    """The parts of a planner process, in memory."""
    monkeypatch.setattr(planner_app, "_running", world)
    return world


def test_each_call_to_the_planner_has_its_task_that_takes_batches():
    tasks = {name: task for name, task in planner_app.app.tasks.items() if not name.startswith("celery.")}
    assert tasks.keys() == TO_PLANNER.keys()
    assert all(isinstance(task, BatchTask) for task in tasks.values())


def test_it_consumes_its_own_queues_one_batch_at_a_time():
    conf = planner_app.app.conf
    assert [queue.name for queue in conf.task_queues] == [queue.name for queue in PLANNER_QUEUES]
    assert (conf.worker_pool, conf.worker_concurrency) == ("threads", 1)
    assert conf.worker_prefetch_multiplier == planner_app.MESSAGES_AT_ONCE


def test_the_messages_of_a_batch_are_handled_in_their_order(running):
    submissions = [{"job": job, "client": "c", "request": an_image_request()} for job in ("one", "two", "three")]
    planner_app.submit.run([Received(Submit(jobs).post().body) for jobs in (submissions[:1], submissions[1:])])
    planner_app.cancel.run([Received(Cancel([job]).post().body) for job in ("two", "one")])
    assert [running.state(job) for job in ("one", "two", "three")] == ["CANCELLED", "CANCELLED", "WAITING"]


class HandTimer:
    """A timer of Celery's that calls when told to."""

    def call_repeatedly(self, seconds, call, arguments):
        self.call = lambda: call(*arguments)
        return self

    def cancel(self):
        self.call = None


class Hub:
    """As much of a Celery worker as a step sees."""

    def __init__(self):
        self.pool, self.timer = StillPool(), HandTimer()


@pytest.fixture
def hub():
    hub = Hub()
    step = planner_app.Tick(hub)
    step.start(hub)
    yield hub
    step.stop(hub)
    assert hub.timer.call is None


def test_ticks_that_an_outage_delays_do_not_pile_up(hub, running):
    hub.timer.call()
    hub.timer.call()
    assert len(hub.pool.waiting) == 1
    hub.pool.work()
    hub.timer.call()
    assert len(hub.pool.waiting) == 1


def test_a_tick_finds_the_node_that_is_silent(hub, running):
    running.up("a")
    for _ in range(15):
        running.clock.time_s += 1
        hub.timer.call()
        hub.pool.work()
    with running.ledger.transaction() as connection:
        assert [row["state"] for row in running.ledger.nodes(connection)] == ["GONE"]


def test_a_tick_that_fails_is_logged_and_the_next_one_comes(hub, running, caplog):
    running.planner = None
    hub.timer.call()
    hub.pool.work()
    assert "a tick failed" in caplog.text
    hub.timer.call()
    assert len(hub.pool.waiting) == 1
