"""Turns, the outbox and the standby: what holds whatever the messages say."""

from __future__ import annotations

import pytest
from image_requests import an_image_request
from planner_world import World

from broker_config.messages import Submission
from planner.errors import DatabaseUnavailableError
from planner.ledger.ledger import Ledger
from planner.state.jobs import LiveJob
from planner.turns import watch


def test_a_job_goes_from_waiting_through_placed_and_running_to_done(world):
    world.submit()
    assert world.state() == "WAITING"
    world.up("a")
    assert world.state() == "PLACED"
    world.start("a")
    world.report("a")
    assert world.state() == "RUNNING"
    world.finish("a")
    world.record()
    assert world.state() == "DONE"
    assert world.kinds() == ["accepted", "placed", "done"]


def test_what_was_committed_and_not_published_is_published_at_the_next_tick(world):
    world.up("a")
    world.publisher.failures = 1
    world.submit()
    assert world.state() == "PLACED"
    assert world.placed_on("a") == []
    world.tick()
    assert world.placed_on("a") == ["job-1"]
    assert [attempt["number"] for attempt in world.attempts()] == [1]


def test_a_planner_that_died_between_commit_and_publish_publishes_the_same_attempt_after_its_restart(world):
    world.up("a")
    world.publisher.failures = 1
    world.submit()
    world.restart()
    world.report("a")
    world.tick()
    assert [(a.job, a.attempt) for a in world.node("a").queue] == [("job-1", 1)]
    world.tick()
    assert world.attempts()[0]["state"] == "PUBLISHED"


def test_that_an_assignment_was_sent_is_written_with_the_next_turn(world):
    world.up("a")
    world.submit()
    assert world.placed_on("a") == ["job-1"]
    assert world.attempts()[0]["state"] == "WRITTEN"
    world.tick()
    assert world.attempts()[0]["state"] == "PUBLISHED"
    world.tick()
    assert world.placed_on("a") == ["job-1"]


def test_that_it_was_sent_is_not_forgotten_by_a_turn_that_fails(world):
    world.up("a")
    world.submit()
    with pytest.raises(ZeroDivisionError), world.planner.turn():
        raise ZeroDivisionError
    world.tick()
    assert world.placed_on("a") == ["job-1"]
    assert world.attempts()[0]["state"] == "PUBLISHED"


def test_a_lost_confirm_doubles_a_message_and_not_a_job(world):
    world.up("a")
    world.publisher.failures, world.publisher.loses_confirms = 1, True
    world.submit()
    world.tick()
    assert world.placed_on("a") == ["job-1", "job-1"]
    world.draw("a")
    world.start("a")
    world.record()
    assert world.state() == "DONE"
    assert [attempt["result"] for attempt in world.attempts()] == ["done"]


def test_a_restarted_planner_knows_what_its_nodes_hold(world):
    world.up("a")
    world.submit_many(4)
    world.restart()
    world.report("a")
    assert len(world.placed_on("a")) == 2
    for _ in range(4):
        world.draw("a")
    assert {world.state(f"job-{i}") for i in range(4)} == {"DONE"}


def test_an_unroutable_assignment_makes_its_node_gone_and_its_job_waits(world):
    world.up("a")
    world.node("a").has_queue = False
    world.submit()
    assert world.state() == "WAITING"
    assert world.row()["failures"] == 0
    assert world.attempts()[0]["result"] == "lost"
    world.up("b")
    assert world.placed_on("b") == ["job-1"]


def test_a_failed_transaction_leaves_memory_as_the_ledger_has_it(world):
    world.up("a")

    def fail():
        with world.planner.turn() as turn:
            world.planner.book.accept(turn, job)
            raise ZeroDivisionError

    request = an_image_request()
    job = LiveJob.of(Submission(job="job-x", client="c", request=request), world.clock.now())
    with pytest.raises(ZeroDivisionError):
        fail()
    world.submit("job-2")
    assert list(world.planner.book.jobs) == ["job-2"]
    assert world.kinds("job-x") == []


def test_without_a_ledger_nothing_is_published(tmp_path):
    world = World(ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    world.up("a")
    world.ledger.close()
    (tmp_path / "ledger.db").write_bytes(b"no database at all, " * 1000)
    for extra in ("-wal", "-shm"):
        (tmp_path / f"ledger.db{extra}").unlink(missing_ok=True)
    with pytest.raises(DatabaseUnavailableError, match=r"ledger\.db"):
        world.submit()
    assert world.events == []
    assert world.placed_on("a") == []


def test_a_standby_takes_over_where_the_other_stopped(world):
    standby = world.new_planner()
    world.up("a")
    world.submit_many(3)
    first, world.planner = world.planner, standby
    world.draw("a")
    assert world.state("job-0") == "DONE"
    world.planner = first  # it was only cut off, and comes back
    world.draw("a")
    world.draw("a")
    assert {world.state(f"job-{i}") for i in range(3)} == {"DONE"}
    assert all(len(world.attempts(f"job-{i}")) == 1 for i in range(3))


def test_a_standby_leaves_the_clock_to_the_planner_that_ticks(world):
    world.up("a")
    standby = world.new_planner()
    for _ in range(8):
        world.tick()
        watch.tick(standby)
    assert not standby._is_current
    world.tick(5)  # and the silence of the node was noticed all the same
    assert not world.planner.book.cluster.ready()


def test_a_standby_takes_the_clock_when_the_other_has_stopped_ticking(world):
    world.up("a")
    world.submit(deadline_s=2)
    world.submit("job-2", deadline_s=2)
    world.submit("job-3", deadline_s=2)
    standby = world.new_planner()
    for _ in range(8):
        world.clock.time_s += 1
        watch.tick(standby)
    assert standby._is_current
    assert world.state("job-3") == "EXPIRED"
