from __future__ import annotations

import threading
import time

import pytest

from broker_config.memory_publisher import MemoryPublisher
from broker_config.messages import NodeReport
from workers.reporter import MAX_UNSENT, Reporter


def report():
    return NodeReport(node="a", instance="i", hostname="h", state="ready", interval_s=0.05)


class Sent(MemoryPublisher):
    """Tells when something was sent."""

    def __init__(self):
        super().__init__()
        self.calls = threading.Semaphore(0)

    def publish(self, posts):
        try:
            return super().publish(posts)
        finally:
            self.calls.release()

    def kinds(self):
        return [post.routing_key.rpartition(".")[2] for post in self.sent]

    def wait_for(self, kind, count=1):
        give_up = time.monotonic() + 20
        while self.kinds().count(kind) < count:
            assert time.monotonic() < give_up, self.kinds()
            self.calls.acquire(timeout=1)


@pytest.fixture
def publisher():
    return Sent()


@pytest.fixture
def reporter(publisher):
    reporter = Reporter(publisher, report, 0.05)
    reporter.start()
    yield reporter
    reporter.stop()


def test_a_report_goes_out_at_once_and_then_again_and_again(publisher, reporter):
    publisher.wait_for("report", 3)
    assert publisher.sent[0].task == "planner.report"
    assert not publisher.sent[0].durable
    assert publisher.sent[0].expires_s > 0.05


def test_progress_goes_to_the_client_of_the_job_in_order(publisher, reporter):
    reporter.started("client-1", "job-1", 2, "a", 4)
    for step in range(1, 5):
        reporter.step("client-1", "job-1", 2, "a", step, 4)
    publisher.wait_for("client-1", 3)
    events = [post.body["events"][0] for post in publisher.sent if post.routing_key == "progress.a.client-1"]
    assert events[0]["kind"] == "started"
    assert [event["step"] for event in events] == [0, 1, 4]  # too quick to tell all, and the last is told
    assert {event["attempt"] for event in events} == {2}


def test_a_preview_is_sent_however_soon_after_another_step(publisher, reporter):
    for step, preview in ((1, None), (2, None), (3, "eA=="), (4, None)):
        reporter.step("c", "job-1", 1, "a", step, 8, preview)
    reporter.step("c", "job-1", 1, "a", 8, 8)
    publisher.wait_for("c", 3)
    events = [event for post in publisher.sent for event in post.body.get("events", ())]
    assert [(event["step"], event.get("preview")) for event in events] == [(1, None), (3, "eA=="), (8, None)]


def test_a_broker_that_is_away_is_outlived(publisher, reporter):
    publisher.failures = 2
    before = publisher.kinds().count("report")
    publisher.wait_for("report", before + 2)


def test_the_last_word_is_a_report(publisher):
    reporter = Reporter(publisher, report, 60.0)
    reporter.start()
    publisher.wait_for("report")
    before = len(publisher.sent)
    reporter.stop()
    assert publisher.kinds()[before:]
    assert set(publisher.kinds()) == {"report"}


def test_stopping_what_was_never_started_is_harmless(publisher):
    Reporter(publisher, report, 60.0).stop()
    assert publisher.sent == []


def test_progress_that_nobody_takes_is_dropped_and_not_kept_for_ever(publisher):
    reporter = Reporter(publisher, report, 60.0)
    for _ in range(MAX_UNSENT + 10):
        reporter.started("c", "j", 1, "a", 1)
