"""Batches of messages: order, outages, and one bad message among good ones."""

from __future__ import annotations

import threading

import pytest
from still_pool import StillPool

from planner.errors import DatabaseUnavailableError, PlacingFailedError
from planner.inbox.authorship import Received
from planner.inbox.batch import BatchTask, Delivery, _Lane


class Recording(BatchTask):
    """A task that notes its batches and fails when told to."""

    def __init__(self, name, log):
        self.name, self.log, self.outages = name, log, 0
        self.stopping = threading.Event()

    def run(self, calls):
        if self.outages:
            self.outages -= 1
            raise DatabaseUnavailableError("sqlite://", "away")
        numbers = [call.body["n"] for call in calls]
        if any(number < 0 for number in numbers):
            raise ValueError("negative")
        self.log.append((self.name, numbers))


class Messages:
    """Deliveries and what became of them."""

    def __init__(self):
        self.acked, self.requeued, self.buried = [], [], []

    def make(self, n, fault=None):
        return Delivery(
            received=Received({"n": n}),
            ack=lambda: self.acked.append(n),
            requeue=lambda: self.requeued.append(n),
            letter=lambda reason: {"n": n, "reason": reason},
            fault=fault,
        )


@pytest.fixture
def messages():
    return Messages()


@pytest.fixture
def task(messages):
    class Task(Recording):
        bury = staticmethod(lambda letter: messages.buried.append((letter["n"], letter["reason"])))

    return Task("submit", [])


def test_a_batch_is_run_at_once_and_then_acknowledged(task, messages):
    task.run_deliveries([messages.make(n) for n in range(3)])
    assert task.log == [("submit", [0, 1, 2])]
    assert messages.acked == [0, 1, 2]


def test_an_outage_is_waited_out_and_nothing_is_lost(task, messages, monkeypatch):
    monkeypatch.setattr("planner.inbox.batch.RETRY_PAUSES_S", (0.001,))
    task.outages = 3
    task.run_deliveries([messages.make(n) for n in range(2)])
    assert task.log == [("submit", [0, 1])]
    assert messages.acked == [0, 1]
    assert messages.buried == []


def test_a_planner_that_stops_during_an_outage_gives_the_messages_back(task, messages):
    task.outages = 10**6
    task.stopping.set()
    task.run_deliveries([messages.make(n) for n in range(2)])
    assert (messages.acked, messages.requeued) == ([], [0, 1])


@pytest.mark.fault(42, "B")
def test_a_message_that_fails_alone_is_buried_with_the_reason_and_the_others_run(task, messages):
    task.run_deliveries([messages.make(n) for n in (1, -2, 3)])
    assert task.log == [("submit", [1]), ("submit", [3])]
    assert messages.buried == [(-2, "submit failed: ValueError: negative")]
    assert sorted(messages.acked) == [-2, 1, 3]


@pytest.mark.fault(42, "B")
def test_a_culprit_among_many_is_found_by_halves(task, messages):
    task.run_deliveries([messages.make(n) for n in (*range(1, 60), -60, *range(61, 129))])
    assert [letter[0] for letter in messages.buried] == [-60]
    assert sorted(n for _, batch in task.log for n in batch) == [*range(1, 60), *range(61, 129)]
    assert len(task.log) <= 7  # of 128: the halves that went well


@pytest.mark.fault(42, "B")
def test_messages_are_not_buried_for_what_placing_does(task, messages):
    failures = [PlacingFailedError("odd")]
    run = task.run

    def run_and_place(calls):
        run(calls)
        if failures:
            raise failures.pop()

    task.run = run_and_place
    task.run_deliveries([messages.make(n) for n in range(3)])
    assert messages.buried == []
    assert messages.acked == [0, 1, 2]


def test_a_message_with_a_fault_is_buried_unread_and_the_others_run(task, messages):
    task.run_deliveries([messages.make(1), messages.make(2, fault="forged")])
    task.run_deliveries([messages.make(3, fault="forged")])
    assert task.log == [("submit", [1])]
    assert messages.buried == [(2, "forged"), (3, "forged")]
    assert messages.acked == [1, 2, 3]


def test_a_burial_waits_for_the_ledger_too(task, messages, monkeypatch):
    monkeypatch.setattr("planner.inbox.batch.RETRY_PAUSES_S", (0.001,))
    bury, outages = type(task).bury, [1, 1]

    def failing(*arguments):
        if outages.pop() if outages else 0:
            raise DatabaseUnavailableError("sqlite://", "away")
        bury(*arguments)

    type(task).bury = staticmethod(failing)
    task.run_deliveries([messages.make(-1)])
    assert len(messages.buried) == 1
    assert messages.acked == [-1]


def test_messages_of_a_lane_keep_their_order_across_tasks(messages):
    log, pool = [], StillPool()
    submit, cancel = Recording("submit", log), Recording("cancel", log)
    lane = _Lane(pool)
    lane.add(submit, messages.make(1))
    for task, n in [(submit, 2), (cancel, 2), (submit, 3), (submit, 4)]:
        lane.add(task, messages.make(n))
    assert len(pool.waiting) == 1
    pool.work()
    assert log == [("submit", [1, 2]), ("cancel", [2]), ("submit", [3, 4])]


def test_messages_that_arrive_during_a_batch_make_the_next_one(messages):
    log, pool = [], StillPool()

    class Slow(Recording):
        def run(self, calls):
            super().run(calls)
            if len(log) == 1:
                for n in (2, 3):
                    lane.add(self, messages.make(n))

    lane = _Lane(pool)
    lane.add(Slow("submit", log), messages.make(1))
    pool.work()
    assert log == [("submit", [1]), ("submit", [2, 3])]
    assert messages.acked == [1, 2, 3]


def test_a_message_that_cannot_even_be_buried_does_not_hold_up_its_neighbours(task, messages, caplog):
    def failing(_letter):
        raise ValueError("no row for that")

    type(task).bury = staticmethod(failing)
    task.run_deliveries([messages.make(1), messages.make(-2), messages.make(3, fault="forged"), messages.make(4)])
    assert [number for _, batch in task.log for number in batch] == [1, 4]
    assert messages.acked == [1, -2, 3, 4]
    assert "dropped: a message of submit that cannot be kept as a dead letter (forged)" in caplog.text
