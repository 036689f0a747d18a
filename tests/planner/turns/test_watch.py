"""Nodes that report, fall silent, drain and lag; deadlines."""

from __future__ import annotations

import pytest
from planner_world import World

from planner.turns import watch


@pytest.mark.parametrize(
    "abilities",
    [
        {"adapters": {str(index): {"mib": 1.0} for index in range(1001)}},
        {"adapters": {"x" * 129: {"mib": 1.0}}},
        {"adapters": {"": {"mib": 1.0}}},
        {"adapters": {"x": {"mib": -1.0}}},
        {"adapters": {"x": {"mib": float("inf")}}},
        {"adapters": {"x": {"mib": 1.0, "base_model": "y" * 129}}},
        {"models": {"tiny": {"sizes_px": []}}},
        {"models": {"tiny": {"sizes_px": [0]}}},
        {"models": {"tiny": {"needs_mib": 1e12}}},
        {"memory_mib": float("nan")},
        {"options": ["x"] * 21},
        {"dtype": "x" * 129},
        {"surprise": 1},
        [],
    ],
)
def test_a_report_with_hostile_abilities_is_ignored(abilities):
    world = World()
    world.up("a", abilities=abilities)
    assert "a" not in world.planner.book.cluster.nodes


def test_what_a_node_can_do_is_in_the_ledger_as_soon_as_it_changes():
    world = World()
    world.up("a")
    world.report("a", abilities={"adapters": {"sketch": {"mib": 1.5, "base_model": "sd3"}}})
    with world.ledger.transaction() as connection:
        (row,) = world.ledger.nodes(connection)
    assert row["report"]["abilities"]["adapters"] == {"sketch": {"mib": 1.5, "base_model": "sd3"}}


def test_a_silent_node_is_gone_and_its_jobs_go_elsewhere(world):
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.up("b")
    world.start("a")
    world.report("a")
    for _ in range(11):
        world.tick()
        world.report("b")
    assert sorted(world.placed_on("b")) == ["one", "two"]
    assert world.row("one")["failures"] == 1  # it may have killed the node
    assert world.row("two")["failures"] == 0  # it had not begun


def test_a_silent_node_that_reports_again_is_ready_again(world):
    world.up("a")
    world.tick(11)
    assert not world.planner.book.cluster.ready()
    world.report("a")
    world.submit()
    assert world.placed_on("a") == ["job-1"]


def test_a_restarted_planner_gives_every_node_a_whole_timeout(world):
    world.up("a")
    world.submit()
    world.clock.time_s += 1000
    world.restart()
    world.tick(9)
    assert world.state() == "PLACED"


def test_a_node_that_says_goodbye_is_gone_at_once(world):
    world.up("a")
    world.submit()
    world.report("a", state="stopped")
    assert world.state() == "WAITING"
    assert world.events[-1].reason == "node a: its worker was stopped"


def test_a_drained_node_keeps_its_first_job_and_gives_the_others_away(world):
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.up("b")
    world.start("a")
    world.drain("a")
    assert world.placed_on("b") == ["two"]
    assert world.start("a").job == "one"
    world.finish("a")
    world.record()
    assert world.state("one") == "DONE"
    world.submit("three")
    assert world.row("three")["node"] == "b"


def test_a_drain_outlives_a_restart_of_planner_and_worker_and_ends_when_told(world):
    world.up("a")
    world.drain("a")
    world.restart()
    world.up("a")
    world.submit()
    assert world.state() == "WAITING"
    world.drain("a", on=False)
    assert world.placed_on("a") == ["job-1"]


def test_a_paused_node_gets_jobs_again_by_itself(world):
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.start("a")
    world.drain("a", for_s=7200.0)
    assert (world.state("one"), world.state("two")) == ("PLACED", "WAITING")
    world.draw("a")
    for _ in range(7199 // 5):
        world.tick(5)
        world.report("a")
    assert world.state("two") == "WAITING"
    world.tick(5)
    assert world.state("two") == "PLACED"


def test_a_pause_outlives_a_restart_of_the_planner_and_a_node_that_is_gone_does_not_come_back_with_its_end(world):
    world.up("a")
    world.drain("a", for_s=60.0)
    world.restart()
    world.tick(20)
    assert world.planner.book.cluster.nodes["a"].state == "GONE"
    world.restart()
    world.up("a")
    world.submit()
    assert world.state() == "WAITING"
    world.tick(20)
    world.tick(30)
    assert (world.planner.book.cluster.nodes["a"].state, world.state()) == ("GONE", "WAITING")
    world.report("a")
    assert world.state() == "PLACED"


def test_a_pause_can_be_ended_or_changed(world):
    world.up("a")
    world.drain("a", for_s=5.0)
    world.drain("a", for_s=600.0)
    world.submit()
    world.tick(9)
    assert world.state() == "WAITING"
    world.drain("a", on=False)
    assert world.state() == "PLACED"


def test_a_node_that_is_gone_gets_no_jobs_when_its_drain_ends(world):
    world.up("a")
    world.report("a", state="stopped")
    world.drain("a")
    world.drain("a", on=False)
    world.submit()
    assert (world.planner.book.cluster.nodes["a"].state, world.state()) == ("GONE", "WAITING")


def test_a_node_whose_hours_are_over_is_not_to_blame_for_giving_a_job_back(world):
    world.up("a", closes_in_s=30.0)
    world.submit()
    world.start("a")
    world.clock.time_s += 29.0
    world.finish("a", "returned")
    world.record()
    assert not world.planner.book.cluster.nodes["a"].breakers
    assert (world.state(), world.row()["failures"]) == ("WAITING", 0)


def test_a_job_is_not_given_to_a_node_that_would_begin_it_after_its_hours(world):
    speeds = {"tiny": {"load_s": 0.0, "s_per_unit": 1000.0}}
    world.up("a", speeds=speeds, resident=["tiny"], closes_in_s=20.0)
    for job in ("one", "two"):  # of 33 s each
        world.submit(job)
    assert (world.state("one"), world.state("two")) == ("PLACED", "WAITING")
    world.report("a", speeds=speeds, resident=["tiny"])
    assert world.state("two") == "PLACED"


def test_draining_an_unknown_node_changes_nothing(world):
    world.drain("nobody")
    assert world.planner.book.cluster.nodes == {}


def test_an_unfit_node_gets_no_jobs_and_its_reason_is_kept(world):
    world.up("a", state="unfit", reason="model 'x' cannot be loaded")
    world.submit()
    assert world.state() == "WAITING"
    with world.ledger.transaction() as connection:
        (row,) = world.ledger.nodes(connection)
    assert (row["state"], row["reason"]) == ("UNFIT", "model 'x' cannot be loaded")


def test_a_job_whose_deadline_passes_while_it_waits_is_expired(world):
    world.submit(deadline_s=5)
    world.tick(4)
    assert world.state() == "WAITING"
    world.tick(2)
    assert world.state() == "EXPIRED"
    assert world.kinds() == ["accepted", "expired"]


def test_a_job_that_a_node_has_begun_does_not_expire(world):
    world.up("a")
    world.submit(deadline_s=5)
    world.start("a")
    for _ in range(8):
        world.report("a")
        world.tick()
    world.finish("a")
    world.record()
    assert world.state() == "DONE"


def test_waiting_work_moves_away_from_a_node_far_behind_its_prediction(world):
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.start("a")
    predicted_s = world.attempts("one")[0]["predicted_service_s"]
    for _ in range(int(3 * predicted_s) + 7):
        world.report("a")
        world.tick()
    assert world.state("two") == "WAITING"
    assert len(world.attempts("two")) == 1  # and it is not given to the same node again and again
    world.up("b")
    assert world.row("two")["node"] == "b"
    world.finish("a")
    world.record()
    assert world.state("one") == "DONE"


def test_an_attempt_that_a_node_works_on_for_nothing_is_withdrawn_again(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.cancel("job-1")
    world.node("a").withdrawn.clear()  # the broker lost the first word
    world.report("a")
    assert ("job-1", 1) in world.node("a").withdrawn


def test_attempts_are_sent_again_to_a_node_that_stays_idle_in_front_of_them(world):
    world.up("a")
    world.submit()
    world.node("a").queue.clear()  # the queue was deleted, and its messages with it
    for _ in range(4):
        world.report("a")
        world.tick(2.0)
    assert [(a.job, a.attempt) for a in world.node("a").queue] == [("job-1", 1)]


@pytest.mark.fault(44, "B")
def test_a_node_that_says_it_works_for_ever_does_not_hold_its_job_for_ever():
    # Given a node that reports and never ends what it runs, and another one
    world = World(attempt_limit_s=10, delivery_limit=1, max_attempts=9)
    world.up("a")
    world.submit()
    world.start("a")
    begun_s = world.clock.time_s
    # When all the time is over that an honest one could take
    while world.attempts()[0]["result"] is None:
        world.report("a")
        world.tick()
        assert world.clock.time_s - begun_s <= 32
    # Then the attempt has failed, its late result is refused, and the job goes elsewhere
    assert world.attempts()[0]["failure"] == {"kind": "time_limit", "message": "no result within 30 s"}
    world.up("b")
    world.tick(10)
    assert ("job-1", 1) in world.node("a").withdrawn
    world.finish("a")
    world.record()
    assert world.state() != "DONE"


def test_a_cancelled_job_frees_the_place_of_a_node_that_never_lets_go():
    world = World(attempt_limit_s=10, delivery_limit=1)
    world.up("a")
    world.submit()
    world.start("a")
    world.cancel("job-1")
    for _ in range(32):
        world.report("a")
        world.tick()
    assert world.planner.book.cluster.nodes["a"].attempts == {}


def test_a_pause_of_the_planner_does_not_count_as_time_that_a_node_takes():
    world = World(attempt_limit_s=10, delivery_limit=1)
    world.up("a")
    world.submit()
    world.start("a")
    world.report("a")
    world.pause(1000)
    world.tick(8)
    world.report("a")
    assert world.attempts()[0]["result"] is None


def test_many_old_reports_at_once_do_not_make_a_node_idle(world):
    world.up("a")
    world.submit()
    world.node("a").queue.clear()
    for _ in range(100):
        world.report("a")
    world.tick()
    assert not world.node("a").queue


def test_a_node_is_not_idle_between_the_end_of_an_attempt_and_its_outcome(world):
    world.up("a")
    world.submit()
    world.report("a")
    for _ in range(10):
        world.report("a", running=("job-1", 1))
        world.tick()
    world.node("a").queue.clear()
    world.report("a")
    assert not world.node("a").queue


def test_an_attempt_that_vanishes_again_and_again_is_failed_in_the_end():
    world = World(max_attempts=1)
    world.up("a")
    world.submit()
    for _ in range(30):
        world.node("a").queue.clear()
        world.report("a")
        world.tick()
    assert world.state() == "FAILED"
    assert "does not begin it" in world.row()["failure"]["message"]


@pytest.mark.fault(46, "B")
def test_a_node_whose_reports_come_and_whose_results_do_not_is_seen_until_they_do(world, caplog):
    # Given a node that was at a job and has finished it, and an outcome that is held up
    world.up("a")
    world.submit()
    world.start("a")
    world.report("a")
    world.finish("a")

    # When it reports itself idle for a while
    for _ in range(4):
        world.report("a")
        world.tick(2.0)

    # Then the table of nodes and the log say so, beside what the node itself says
    assert note_of(world).startswith("it begins jobs, but no result comes")
    assert "node a: it begins jobs, but no result comes" in caplog.text
    world.report("a", reason="the disk is slow", resident=["small"])
    assert note_of(world).startswith("the disk is slow; it begins jobs")

    # And no longer when the outcome has come
    world.report("a")
    world.record()
    assert world.state() == "DONE"
    assert note_of(world) == ""


def test_a_result_that_never_comes_ends_the_job_with_that_reason():
    world = World(max_attempts=1)
    world.up("a")
    world.submit()
    world.start("a")
    world.report("a")
    world.finish("a")
    for _ in range(30):
        world.report("a")
        world.tick()
    assert world.state() == "FAILED"
    assert "has begun it, but sends no result" in world.row()["failure"]["message"]


def note_of(world):
    with world.ledger.transaction() as connection:
        return world.ledger.nodes(connection)[0]["reason"]


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"node": "A B"},
        {"node": "a.b"},
        {"node": 5},
        {"node": "a", "instance": "1", "hostname": "h", "state": "asleep", "interval_s": 1},
        {"node": "a", "instance": "1", "hostname": "h", "state": "ready", "interval_s": float("nan")},
    ],
)
def test_a_malformed_report_is_ignored(world, report):
    watch.report(world.planner, world.store, [report])
    assert world.planner.book.cluster.nodes == {}


def test_a_restarted_worker_teaches_its_speed_once(world):
    world.up("a", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 50.0}})
    for _ in range(5):
        world.report("a", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 50.0}})
    estimate = world.planner.book.cluster.estimates.of("a", "tiny")
    assert estimate.s_per_unit.count == 1
    assert estimate.s_per_unit.median == pytest.approx(50.0)


@pytest.mark.fault(44, "B")
def test_however_often_a_worker_starts_with_whatever_speed_it_is_one_observation(world):
    boasts = [{"load_s": 10.0**-number, "s_per_unit": 10.0**-number, "overhead_units": 0.0} for number in range(7)]
    world.up("a", speeds={"tiny": boasts[0]})
    estimate = world.planner.book.cluster.estimates.of("a", "tiny")
    for number in range(50):
        world.up("a", speeds={"tiny": boasts[number % len(boasts)]})
    assert world.planner.book.cluster.estimates.of("a", "tiny") == estimate
    assert (estimate.s_per_unit.count, estimate.load_s.count) == (1, 1)
    assert (estimate.s_per_unit.median, estimate.load_s.median) == pytest.approx((1.0, 1.0))


def test_a_removed_node_is_gone_at_once_and_its_jobs_go_elsewhere(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.up("b")
    watch.remove(world.planner, "no-such-node")
    world.remove("a")
    assert world.placed_on("b") == ["job-1"]
    assert [attempt["result"] for attempt in world.attempts()] == ["lost", None]
    assert "removed" in world.attempts()[0]["failure"]["message"]
    world.finish("a")
    world.record()
    assert world.state() == "PLACED"


def test_after_a_pause_of_the_planner_no_node_is_gone_and_nothing_is_held_against_a_job(world):
    # Given a node that draws, and a planner that is stopped for longer than the nodes' timeout, three times
    world.up("a")
    world.submit()
    world.start("a")
    world.report("a")
    for _ in range(3):
        world.tick(2)
        world.pause(20)
        # When it goes on, and ticks before it reads what waits
        world.tick()
        assert [node.name for node in world.planner.book.cluster.ready()] == ["a"]
        world.report("a")
    # Then the job is done at its first attempt
    world.finish("a")
    world.record()
    assert world.state() == "DONE"
    assert [attempt["result"] for attempt in world.attempts()] == ["done"]


def test_a_node_that_stays_silent_after_a_pause_is_gone_after_a_whole_timeout(world):
    world.up("a")
    world.pause(60)
    world.tick(9)
    assert world.planner.book.cluster.ready()
    world.tick(3)
    assert not world.planner.book.cluster.ready()


def test_after_a_pause_an_attempt_is_not_overdue_before_its_outcome_could_be_read(world):
    world.up("a", speeds={"tiny": {"load_s": 0.0, "s_per_unit": 1.0}})
    world.up("b")
    for number in range(3):
        world.submit(f"job-{number}")
    world.start("a")
    world.report("a")
    held = world.placed_on("a")
    world.pause(100)
    world.tick(2)
    assert world.placed_on("a") == held


def test_of_a_removed_node_nothing_is_left_but_its_attempts(world):
    world.up("a", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    world.submit()
    world.draw("a")
    world.remove("a")
    with world.ledger.transaction() as connection:
        assert world.ledger.nodes(connection) == []
        assert world.ledger.estimates(connection).by_node == {}
    assert [attempt["node"] for attempt in world.attempts()] == ["a"]
    world.restart()
    world.submit("job-2")
    assert world.planner.book.cluster.nodes == {}
    assert world.state("job-2") == "WAITING"


def test_a_late_outcome_of_a_removed_node_is_refused(world):
    world.up("a")
    world.up("b")
    world.submit()
    name = "a" if world.placed_on("a") else "b"
    world.start(name)
    world.remove(name)
    world.finish(name)
    world.record()
    assert world.state() == "PLACED"
    assert world.planner.book.cluster.nodes.keys() == {"a", "b"} - {name}


SKETCH = {"adapters": {"sketch": 1.0}}


def has(*adapters):
    return {"adapters": {name: {"mib": 1.0} for name in adapters}}


def told(world, kind, job="job-1"):
    return [event for event in world.events if event.job == job and event.kind == kind]


def test_a_job_that_no_present_node_can_do_is_told_so_at_once_and_done_as_soon_as_one_can():
    world = World()
    world.up("n1", abilities=has("oil"))
    world.submit(request=SKETCH)
    (accepted,) = told(world, "accepted")
    assert accepted.warnings == ("adapter 'sketch' is on no node that is up",)
    world.tick(5)
    assert told(world, "waiting") == []  # it has been said
    world.up("n5", abilities=has("sketch"))
    assert world.row()["node"] == "n5"


def test_a_job_whose_last_able_node_goes_is_told_so_once():
    world = World()
    world.up("n1", abilities=has())
    world.up("n5", abilities=has("sketch"))
    world.submit(request=SKETCH)
    world.report("n5", state="stopped", abilities=has("sketch"))
    world.pause(180)
    world.report("n1", abilities=has())
    for _ in range(3):
        world.tick()
        world.report("n1", abilities=has())
    said = [event.reason for event in told(world, "waiting")]
    assert said[-1] == "adapter 'sketch' is on no node that is up; n5 had it, gone since 3 min"
    assert len(said) == 2  # that it was taken back, and this


@pytest.mark.fault(51, "B")
def test_a_job_waits_for_what_is_missing_only_so_long_and_ends_with_that_reason():
    world = World(missing_wait_s=60)
    world.up("n1", abilities=has())
    world.submit(request=SKETCH)
    for _ in range(60):
        world.report("n1", abilities=has())
        world.tick()
    assert world.state() == "WAITING"
    world.report("n1", abilities=has())
    world.tick()
    row = world.row()
    assert (row["state"], row["failure"]["kind"], row["attempts"]) == ("FAILED", "model_missing", 0)
    assert row["failure"]["message"].startswith("adapter 'sketch' is on no node that is up; the job waited 6")
    assert "LADLE_MISSING_WAIT_S" in row["failure"]["message"]


def test_time_without_any_node_does_not_count_as_waiting_for_what_is_missing():
    world = World(missing_wait_s=60)
    world.submit(request=SKETCH)
    world.tick(100)
    world.up("n1", abilities=has())
    world.tick()
    assert world.state() == "WAITING"


def test_a_deadline_ends_the_wait_for_what_is_missing_with_that_reason():
    world = World()
    world.up("n1", abilities=has())
    world.submit(request=SKETCH, deadline_s=5.0)
    world.tick(7)
    row = world.row()
    assert row["state"] == "EXPIRED"
    assert row["failure"]["message"] == "adapter 'sketch' is on no node that is up"


def test_since_when_a_node_is_gone_survives_a_planner():
    world = World()
    world.up("n5", abilities=has("sketch"))
    world.report("n5", state="stopped", abilities=has("sketch"))
    world.pause(7200)
    world.restart()
    world.up("n1", abilities=has())
    world.submit(request=SKETCH)
    assert told(world, "accepted")[0].warnings == (
        "adapter 'sketch' is on no node that is up; n5 had it, gone since 2 h",
    )
