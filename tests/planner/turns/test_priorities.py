"""The priority of a job that waits is changed: who may, what it does, and what the client is told."""

from __future__ import annotations

import math

import pytest
from planner_world import World

from broker_config.errors import RequestRefusedError
from broker_config.messages import Priority

ANN, BOB = "ann.0f", "bob.0f"


@pytest.fixture
def queue():
    """A world in which job-0 is drawn, job-1 is the next of the node, and job-2 to job-4 wait in that order."""
    world = World(ageing=math.inf)
    world.up("a")
    world.submit_many(5)
    world.start("a")
    world.report("a")
    assert [world.state(f"job-{n}") for n in range(5)] == ["RUNNING", "PLACED", "WAITING", "WAITING", "WAITING"]
    world.events.clear()
    return world


def drawn_next(world):
    """The job that the node begins once the running one is done."""
    world.finish("a")
    world.record()
    return world.start("a").job


def test_a_job_moved_to_high_passes_those_that_came_before(queue):
    queue.set_priority("job-4", 0)
    drawn = [drawn_next(queue) for _ in range(4)]
    assert drawn == ["job-1", "job-4", "job-2", "job-3"]


def test_a_job_moved_to_low_is_passed_and_one_moved_back_keeps_its_arrival(queue):
    queue.set_priority("job-2", 2)
    queue.set_priority("job-3", 2)
    queue.set_priority("job-3", 1)
    assert [drawn_next(queue) for _ in range(4)] == ["job-1", "job-3", "job-4", "job-2"]


def test_the_client_is_told_the_new_priority_and_prediction(queue):
    queue.set_priority("job-4", 0)
    (event,) = queue.events
    assert (event.kind, event.priority, event.state, event.reason) == ("priority", Priority.HIGH, "WAITING", None)
    assert event.eta_p50_s > 0


def test_who_asks_and_whose_job_it_is_are_both_told(queue):
    queue.told.clear()
    queue.set_priority("job-4", 0, client="client-2")
    assert {client: [event.kind for event in events] for client, events in queue.told.items()} == {
        "client-1": ["priority"],
        "client-2": ["priority"],
    }


def test_a_restarted_planner_has_the_new_order(queue):
    queue.set_priority("job-4", 0)
    assert queue.row("job-4")["priority"] == 0
    queue.restart()
    assert [drawn_next(queue) for _ in range(2)] == ["job-1", "job-4"]


@pytest.mark.parametrize(("job", "where"), [("job-0", "RUNNING on a"), ("job-1", "PLACED on a")])
def test_a_job_that_a_node_has_keeps_its_priority_and_the_answer_says_where_it_is(queue, job, where):
    queue.set_priority(job, 0)
    (event,) = queue.events
    assert (event.kind, event.priority, event.failure) == ("priority", Priority.NORMAL, None)
    assert event.reason == f"it is {where}: only a job that waits can be moved"
    assert queue.row(job)["priority"] == 1


def test_a_job_that_has_ended_is_answered_with_its_end(queue):
    queue.cancel("job-3")
    queue.events.clear()
    queue.set_priority("job-3", 0)
    (event,) = queue.events
    assert (event.kind, event.state, event.priority, event.reason) == ("priority", "CANCELLED", 1, "it is CANCELLED")


def test_a_job_that_never_was_is_unknown(queue):
    queue.set_priority("job-9", 0)
    assert [(event.job, event.kind) for event in queue.events] == [("job-9", "unknown")]


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("job", ["ann.open", "ann.ended"])
def test_a_job_of_another_is_unknown_and_stays(world, job):
    world.submit("ann.open", client=ANN, owner="ann")
    world.submit("ann.ended", client=ANN, owner="ann")
    world.cancel("ann.ended")
    before = world.row(job)
    world.told.clear()
    world.set_priority(job, 2, client=BOB, owner="bob")
    assert {client: [event.kind for event in events] for client, events in world.told.items()} == {BOB: ["unknown"]}
    assert world.row(job) == before


@pytest.mark.fault(48, "B")
def test_to_move_to_high_needs_the_right_and_to_move_down_does_not():
    world = World(high_priority="ann")
    for owner in ("ann", "bob"):
        world.submit(f"{owner}.1", client=f"{owner}.0f", owner=owner)
        world.set_priority(f"{owner}.1", 0, client=f"{owner}.0f", owner=owner)
    assert (world.row("ann.1")["priority"], world.row("bob.1")["priority"]) == (0, 1)
    refused = world.told[BOB][-1]
    assert (refused.kind, refused.priority, refused.failure.kind) == ("priority", Priority.NORMAL, "bad_request")
    assert "LADLE_HIGH_PRIORITY" in refused.reason
    world.set_priority("bob.1", 2, client=BOB, owner="bob")
    assert world.row("bob.1")["priority"] == 2


def test_what_is_no_client_is_refused(world):
    with pytest.raises(RequestRefusedError, match="is no name"):
        world.set_priority(client="no name")
