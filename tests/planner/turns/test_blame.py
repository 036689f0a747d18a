"""A node that fails what others do gets no more of it; what it failed is not held against the jobs."""

from __future__ import annotations

import pytest
from planner_world import World

from broker_config.messages import FailureKind
from broker_config.settings import Settings
from planner.serving.placers import make_placer
from planner.state.breaker import JOBS_TO_OPEN

JOBS = 40
RIGHT_NODE_S = 3  # for a job; the wrong node takes a second


def elsewhere(world):
    """An image in a store that the planner does not share."""
    running = world.node("wrong").running
    timings = {"generation_s": 1.0}
    url = f"file:///of-another/{running.job}/{running.attempt}-0.png"
    world.finish("wrong", images=[{"seed": 1, "sha256": "0", "url": url}], timings=timings)


def garbage(world):
    """Bytes that are no picture."""
    world.finish("wrong", images=[{**world.image("x"), "sha256": "0"}])


def disk_full(world):
    failure = {"kind": "internal", "message": "OSError: [Errno 28] No space left on device"}
    world.finish("wrong", "failed", failure=failure)


def fail(world, name="wrong", kind=FailureKind.INTERNAL):
    """Let a node fail the job it takes next; return which one that was."""
    job = world.start(name).job
    world.finish(name, "failed", kind=kind)
    world.record()
    return job


def breaker_of(world, name="wrong"):
    return world.planner.book.cluster.nodes[name].breakers["tiny"]


def note_of(world, name="wrong"):
    with world.ledger.transaction() as connection:
        return next(row["reason"] for row in world.ledger.nodes(connection) if row["name"] == name)


def states(world):
    return [world.state(f"job-{number}") for number in range(JOBS)]


def two_nodes():
    """`right`, which is at work, and `wrong`, which is given the first of many jobs."""
    world = World(window=1)
    world.up("right")
    world.submit("first")
    world.start("right")
    world.up("wrong")
    world.submit_many(JOBS)
    return world


@pytest.fixture
def opened():
    """Two nodes; `wrong` has failed so many jobs that it gets no more; the others wait for `right`."""
    world = two_nodes()
    for _ in range(JOBS_TO_OPEN):
        fail(world)
    assert world.placed_on("wrong") == []
    return world


@pytest.mark.fault(49, "B")
@pytest.mark.parametrize(
    ("placer", "go_wrong"),
    [("least-backlog", elsewhere), ("joint-completion", garbage), ("lad-ts", disk_full), ("lad-ts", elsewhere)],
)
def test_a_fast_node_that_does_everything_wrong_burns_few_attempts_and_fails_no_job(placer, go_wrong):
    world = World(make_placer(Settings(_env_file=None, placer=placer)), node_timeout_s=1e6)
    world.up("wrong", speeds={"tiny": {"load_s": 0.1, "s_per_unit": 1.0}})
    world.up("right", speeds={"tiny": {"load_s": 0.1, "s_per_unit": 3.0}})
    world.submit_many(JOBS)
    begun_s = world.clock.time_s
    since = None
    while world.planner.book.jobs:
        if world.start("wrong"):
            go_wrong(world)
        if since is None and world.start("right"):
            since = world.clock.time_s
        elif since is not None and world.clock.time_s - since >= RIGHT_NODE_S:
            world.finish("right", timings={"generation_s": RIGHT_NODE_S})
            since = None
        if world.outcomes:
            world.record()
        world.tick()
        assert world.clock.time_s - begun_s < 2 * JOBS * RIGHT_NODE_S
    assert states(world) == ["DONE"] * JOBS
    burnt = sum(len(world.attempts(f"job-{number}")) for number in range(JOBS)) - JOBS
    assert burnt < JOBS / 4, burnt


def test_what_it_failed_is_not_held_against_the_jobs_and_the_note_says_why(opened):
    assert [opened.row(f"job-{number}")["failures"] for number in range(JOBS_TO_OPEN)] == [0] * JOBS_TO_OPEN
    assert "no jobs of tiny until a trial succeeds (internal: as the test says)" in note_of(opened)


def test_after_the_pause_one_trial_is_made_and_a_success_ends_it(opened):
    opened.tick(9)
    opened.report("wrong")
    assert opened.placed_on("wrong") == []
    opened.tick(2)
    assert len(opened.placed_on("wrong")) == 1
    opened.draw("wrong")
    assert len(opened.placed_on("wrong")) == 1
    assert note_of(opened) == ""


def test_a_trial_that_fails_counts_against_nobody_and_doubles_the_pause(opened):
    opened.tick(9)
    opened.report("wrong")
    opened.report("right")
    opened.tick(2)
    job = fail(opened)
    assert opened.row(job)["failures"] == 0
    assert opened.placed_on("wrong") == []
    assert breaker_of(opened).pause_s == 20.0


def test_no_second_job_goes_with_a_trial_whatever_room_there_is():
    world = World(window=5)
    world.up("right")
    world.submit_many(JOBS)
    world.up("wrong")
    for _ in range(JOBS_TO_OPEN):
        fail(world)
    for assignment in list(world.node("wrong").queue):  # taken back before it was begun
        assert (assignment.job, assignment.attempt) in world.node("wrong").withdrawn or world.start("wrong")
    while world.node("wrong").running:
        world.finish("wrong", "failed")
        world.record()
        world.start("wrong")
    if world.outcomes:
        world.record()
    world.tick(9)
    world.report("right")
    world.report("wrong")
    world.tick(5)
    assert len(world.placed_on("wrong")) == 1


def test_a_worker_that_was_started_again_is_tried_at_once(opened):
    opened.up("wrong")
    assert len(opened.placed_on("wrong")) == 1


def test_a_job_that_fails_everywhere_is_failed_and_no_node_is_barred_for_it():
    world = World(max_attempts=3)
    world.up("right")
    world.up("wrong")
    for number in range(2 * JOBS_TO_OPEN):
        job = f"poison-{number}"
        world.submit(job)
        while world.state(job) not in ("FAILED", "DONE"):
            fail(world, "right" if world.placed_on("right") else "wrong")
        assert world.state(job) == "FAILED"
    assert not any(node.breakers["tiny"].is_open for node in world.planner.book.cluster.nodes.values())


def test_the_only_node_of_a_model_is_never_barred():
    world = World(max_attempts=1)
    world.up("wrong")
    world.submit_many(2 * JOBS_TO_OPEN)
    for _ in range(2 * JOBS_TO_OPEN):
        fail(world)
    assert world.state("job-0") == "FAILED"
    assert not breaker_of(world).is_open


def test_while_only_barred_nodes_are_left_jobs_wait_and_are_not_used_up(opened):
    opened.die("right")
    opened.node("right").queue.clear()
    for _ in range(60):
        opened.tick()
        opened.report("wrong")
        if opened.start("wrong"):
            fail(opened)
    assert "FAILED" not in states(opened)
    assert sum(len(opened.attempts(f"job-{number}")) for number in range(JOBS)) < 10


@pytest.mark.fault(44, "B")
@pytest.mark.parametrize("answer", ["returned", "cancelled"])
def test_a_node_that_gives_everything_back_gets_no_more_and_uses_up_no_job(answer):
    world = two_nodes()
    for _ in range(JOBS_TO_OPEN):
        world.start("wrong")
        world.finish("wrong", answer)
        world.record()
    assert world.placed_on("wrong") == []
    assert f"{answer} though nobody asked" in note_of(world)
    assert max(world.row(f"job-{number}")["failures"] for number in range(JOBS)) == 0


def test_a_node_that_stops_may_give_its_jobs_back():
    world = World()
    world.up("right")
    world.up("wrong")
    for number in range(2 * JOBS_TO_OPEN):
        world.submit(f"job-{number}")
        name = "wrong" if world.start("wrong") else "right"
        world.start(name)
        world.report(name, state="draining")
        world.finish(name, "returned")
        world.record()
        world.up(name)
    assert not any(node.breakers for node in world.planner.book.cluster.nodes.values())


def test_other_models_of_the_node_are_not_affected(opened):
    opened.submit("another", request={"model": "other"})
    assert opened.placed_on("wrong") == ["another"]


def test_nodes_that_fail_the_same_jobs_are_found_out_by_the_one_that_does_them():
    world = World(window=1, max_attempts=9)
    world.up("right")
    world.submit("first")
    world.start("right")
    world.up("wrong")
    world.up("wrong-too")
    world.submit_many(JOBS)
    for _ in range(4 * JOBS_TO_OPEN):
        for name in ("wrong", "wrong-too"):
            if world.node(name).queue:
                fail(world, name)
        if world.node("right").running or world.start("right"):
            world.finish("right")
            world.record()
    assert breaker_of(world).is_open
    assert breaker_of(world, "wrong-too").is_open
