"""Outcomes, late and repeated ones, and dead letters."""

from __future__ import annotations

import pytest
from planner_world import World, png

from broker_config.calls import RecordDeadLetter
from broker_config.messages import FailureKind
from planner.errors import StoreUnavailableError
from planner.turns import recorder
from workers.image_store import ImageStore


@pytest.fixture
def placed(world):
    """One job in the queue of node a."""
    world.up("a")
    world.submit()
    return world


def left_in_the_store(world, name="a", **changes):
    """The image that the worker of node `name` wrote for what it runs, as it stands in the outcome."""
    assignment = world.node(name).running.model_copy(update=changes)
    (image,) = ImageStore(world.files.url, inline_mib=0).put(assignment, [(1, png("in the store"))])
    return image.to_wire()


def is_stored(world, image):
    return world.files.exists(image["url"])


def test_images_lie_in_the_store_and_travel_in_the_event(placed):
    placed.draw("a")
    (image,) = placed.row()["images"]
    assert "data" not in image
    assert placed.files.read(image["url"]).endswith(b"job-1/1")
    (told,) = placed.events[-1].images
    assert told.png().endswith(b"job-1/1")


def test_the_same_outcome_twice_is_one_image_that_stays(placed):
    placed.start("a")
    stored = left_in_the_store(placed)
    placed.finish("a", images=[stored])
    (outcome,) = placed.outcomes
    placed.record(outcome, outcome)
    placed.record(outcome)
    assert placed.state() == "DONE"
    assert placed.kinds() == ["accepted", "placed", "done"]
    assert is_stored(placed, stored)


def test_a_late_result_of_a_replaced_attempt_is_fenced_and_its_stored_image_removed(world):
    world.up("a")
    world.up("b")
    world.submit()
    first = "a" if world.placed_on("a") else "b"
    other = "b" if first == "a" else "a"
    world.start(first)
    for _ in range(12):
        world.tick()
        world.report(other)
    assert world.placed_on(other) == ["job-1"]
    late = left_in_the_store(world, first)
    world.finish(first, images=[late])
    world.record()
    assert world.state() == "PLACED"
    assert not is_stored(world, late)
    world.draw(other)
    assert world.row()["node"] == other
    assert [attempt["result"] for attempt in world.attempts()] == ["lost", "done"]


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "0 images"),
        ([World.image("1"), World.image("2")], "2 images"),
        ([{**World.image("1"), "data": None}], "without data"),
        ([{**World.image("1"), "data": "?"}], "base64"),
        ([{**World.image("1"), "sha256": "0"}], "hash"),
        ([{**World.image("1"), "data": None, "url": "file:///etc/passwd"}], "LADLE_STORE_URL"),
        ([{**World.image("1"), "data": None, "url": "memory://ladle-0/../x.png"}], "LADLE_STORE_URL"),
    ],
)
def test_a_result_without_its_images_counts_as_a_failed_attempt(placed, images, reason):
    placed.start("a")
    placed.finish("a", images=images)
    placed.record()
    assert reason in placed.attempts()[0]["failure"]["message"]
    assert placed.row()["failures"] == 1


def test_a_result_whose_stored_image_the_planner_cannot_read_is_not_done(placed):
    placed.start("a")
    elsewhere = left_in_the_store(placed)
    placed.files.remove(elsewhere["url"])
    placed.finish("a", images=[elsewhere])
    placed.record()
    assert placed.state() != "DONE"
    assert "LADLE_STORE_URL must be one store" in placed.attempts()[0]["failure"]["message"]


@pytest.mark.parametrize("kind", sorted({*FailureKind} - {FailureKind.BAD_REQUEST, FailureKind.MODEL_MISSING}))
def test_a_failed_attempt_is_tried_again_up_to_max_attempts(kind):
    world = World(max_attempts=3)
    world.up("a")
    world.submit()
    for number in range(1, 4):
        assert len(world.attempts()) == number
        world.start("a")
        world.finish("a", "failed", kind=kind)
        world.record()
    row = world.row()
    assert row["state"] == "FAILED"
    assert "gave up after 3 attempts" in row["failure"]["message"]
    assert "as the test says" in row["failure"]["message"]
    assert row["failure"]["kind"] == kind
    assert [attempt["result"] for attempt in world.attempts()] == ["failed"] * 3


SKETCH = {"adapters": {"sketch": 1.0}}
LACKS = {
    "kind": "model_missing",
    "message": "adapter 'sketch' is not on this node",
    "lacks": {"kind": "adapter", "name": "sketch"},
}


def has(*adapters):
    return {"adapters": {name: {"mib": 1.0} for name in adapters}}


def refuse(world, name, failure=LACKS):
    world.start(name)
    world.finish(name, "failed", failure=failure)
    world.record()


def test_a_refusal_for_lack_of_a_thing_corrects_the_view_at_once_and_does_not_count():
    world = World(max_attempts=1, window=3)
    world.up("n1", abilities=has("sketch"))
    world.submit_many(3, request=SKETCH)
    world.submit("plain")
    refuse(world, "n1")  # and takes back what the node has not begun
    refuse(world, "n1")  # which it had begun by then
    assert [world.state(f"job-{index}") for index in range(3)] == ["WAITING"] * 3
    assert [world.row(f"job-{index}")["failures"] for index in range(3)] == [0, 0, 0]
    assert world.attempts("job-2")[0]["result"] == "taken back"
    reason = [event.reason for event in world.events if event.job == "job-0" and event.kind == "waiting"][-1]
    assert reason == "model_missing on n1: adapter 'sketch' is not on this node"
    assert world.state("plain") == "PLACED"  # the node is as good as any for jobs without the adapter
    world.up("n2", abilities=has("sketch"))
    for _ in range(3):
        world.draw("n2")
    assert {world.state(f"job-{index}") for index in range(3)} == {"DONE"}


@pytest.mark.fault(51, "B")
def test_a_lying_node_cannot_keep_a_job_going_round():
    world = World(max_attempts=2, window=1)
    world.up("liar", abilities=has("sketch"))
    world.submit(request=SKETCH)
    for _ in range(100):
        if world.row()["state"] == "PLACED":
            refuse(world, "liar")
        world.up("liar", abilities=has())
        world.up("liar", abilities=has("sketch"))  # as if it were another process, to which the job goes again
    row = world.row()
    assert row["state"] == "FAILED"
    assert row["attempts"] == 20
    assert row["failure"]["kind"] == "model_missing"


def test_a_liar_that_stays_is_asked_ever_more_seldom():
    world = World(max_attempts=2, window=1, missing_wait_s=10_000)
    world.up("liar", abilities=has("sketch"))
    world.submit(request=SKETCH)
    for _ in range(600):
        if world.row()["state"] == "PLACED":
            refuse(world, "liar")
        world.tick()
        world.report("liar", abilities=has("sketch"))
    assert world.row()["attempts"] == 4  # at once, and after 60, 120 and 240 s


def test_what_a_node_claims_to_lack_that_the_job_never_needed_counts_as_any_failure():
    world = World(max_attempts=1)
    world.up("n1", abilities=has("sketch"))
    world.submit()
    refuse(world, "n1", {"kind": "out_of_memory", "message": "no", "lacks": {"kind": "adapter", "name": "sketch"}})
    assert world.state() == "FAILED"


def test_a_model_that_does_not_fit_a_node_is_a_lack_too():
    world = World(max_attempts=1, window=1)
    world.up("small")
    world.submit()
    lacks = {"kind": "memory", "name": "tiny"}
    refuse(world, "small", {"kind": "out_of_memory", "message": "'tiny' needs 9 GiB", "lacks": lacks})
    assert world.state() == "WAITING"
    world.up("large")
    world.draw("large")
    assert world.state() == "DONE"


@pytest.mark.parametrize("kind", [FailureKind.MODEL_MISSING, FailureKind.OUT_OF_MEMORY])
def test_a_node_that_lacked_something_is_not_tried_again_while_another_is_ready(kind):
    world = World(max_attempts=3, window=1)
    world.up("small")
    world.submit()
    world.up("large")
    world.submit("job-2")
    assert world.placed_on("large") == ["job-2"]  # nothing is free there for now
    world.start("small")
    world.finish("small", "failed", kind=kind)
    world.record()
    assert world.state() == "WAITING"
    world.draw("large")
    world.draw("large")
    assert [attempt["node"] for attempt in world.attempts()] == ["small", "large"]
    assert world.state() == "DONE"


def test_a_model_that_each_ready_node_lacks_fails_its_job_after_one_attempt_on_each():
    world = World(max_attempts=3)
    for name in ("a", "b"):
        world.up(name)
    world.submit()
    for _ in range(2):
        node = world.attempts()[-1]["node"]
        world.start(node)
        world.finish(node, "failed", kind=FailureKind.MODEL_MISSING)
        world.record()
    assert sorted(attempt["node"] for attempt in world.attempts()) == ["a", "b"]
    failure = world.row()["failure"]
    assert (world.state(), failure["kind"]) == ("FAILED", FailureKind.MODEL_MISSING)
    assert failure["message"].endswith("as the test says; no other node that is ready may have it")


def test_where_no_other_node_is_ready_the_same_one_is_tried_again(placed):
    placed.start("a")
    placed.finish("a", "failed", kind=FailureKind.OUT_OF_MEMORY)
    placed.record()
    assert placed.placed_on("a") == ["job-1"]


def test_a_bad_request_is_never_tried_again(placed):
    placed.start("a")
    placed.finish("a", "failed", kind=FailureKind.BAD_REQUEST)
    placed.record()
    assert placed.state() == "FAILED"
    assert len(placed.attempts()) == 1
    assert placed.events[-1].failure.kind == "bad_request"


def test_a_job_that_is_given_back_is_placed_again_and_nothing_is_held_against_it(placed):
    placed.start("a")
    placed.finish("a", "returned")
    placed.record()
    assert placed.state() == "PLACED"
    assert placed.row()["failures"] == 0
    assert placed.row()["attempts"] == 2


def test_even_attempts_that_count_for_nothing_are_bounded():
    world = World(max_attempts=1)
    world.up("a")
    world.submit()
    for _ in range(10):
        world.start("a")
        world.finish("a", "returned")
        world.record()
    assert world.state() == "FAILED"
    assert len(world.attempts()) == 10


def test_the_planner_learns_the_speed_of_a_node_from_its_outcomes(world):
    world.up("a")
    for index in range(8):
        world.submit(f"job-{index}")
        world.start("a")
        world.clock.time_s += 5.0
        world.finish("a", timings={"generation_s": 5.0}, resident=["tiny"])
        world.record()
    predicted = world.planner.book.cluster.estimates.of("a", "tiny").s_per_unit.median
    assert world.attempts("job-7")[0]["predicted_service_s"] == pytest.approx(5.0, rel=0.3)
    world.restart()
    world.report("a")
    assert world.planner.book.cluster.estimates.of("a", "tiny").s_per_unit.median == pytest.approx(predicted)


def test_a_dead_lettered_assignment_fails_its_attempt(placed):
    placed.bury(placed.node("a").queue.popleft())
    (letter,) = placed.dead_letters()
    assert letter["reason"] == "delivery_limit"
    first, _second = placed.attempts()
    assert first["result"] == "failed"
    assert first["failure"]["kind"] == "worker_died"
    assert placed.row()["failures"] == 1
    assert placed.state() == "PLACED"


def test_a_dead_lettered_assignment_of_a_cancelled_job_frees_the_place():
    world = World(window=1)
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.cancel("one")
    world.bury(world.node("a").queue.popleft())
    assert world.placed_on("a") == ["two"]
    assert world.state("one") == "CANCELLED"


@pytest.mark.parametrize("headers", [None, {}, {"task": "workers.generate"}, {"task": "workers.generate", "id": "x/y"}])
def test_any_other_dead_letter_is_kept_and_changes_nothing(placed, headers):
    letter = {"reason": "odd", "queue": "dead", "headers": headers, "body": "x", "body_bytes": 1}
    recorder.record_dead_letters(placed.planner, [RecordDeadLetter.read(letter)])
    assert len(placed.dead_letters()) == 1
    assert placed.state() == "PLACED"


@pytest.mark.parametrize("change", [{"result": "perhaps"}, {"attempt": 0}, {"surprise": 1}, {"job": "no spaces"}])
def test_a_malformed_outcome_becomes_a_dead_letter_and_its_neighbours_are_recorded(placed, change):
    placed.start("a")
    placed.finish("a")
    (good,) = placed.outcomes
    placed.record({**good, **change}, good)
    assert placed.state() == "DONE"
    assert "malformed outcome" in placed.dead_letters()[0]["reason"]


def test_an_outcome_of_a_node_that_does_not_hold_the_job_is_refused(placed):
    placed.up("b")
    placed.start("a")
    placed.finish("a")
    (outcome,) = placed.outcomes
    placed.record({**outcome, "node": "b"})
    placed.record({**outcome, "attempt": 2})
    placed.record({**outcome, "node": "never-seen"})
    assert placed.state() == "PLACED"
    placed.record(outcome)
    assert placed.state() == "DONE"


@pytest.mark.parametrize("changes", [{"job": "somebody-elses"}, {"attempt": 2}])
def test_an_outcome_claims_no_image_but_its_own_attempts(placed, changes):
    placed.start("a")
    others = left_in_the_store(placed, **changes)
    placed.finish("a", images=[others])
    placed.record()
    assert "LADLE_STORE_URL" in placed.attempts()[0]["failure"]["message"]
    assert is_stored(placed, others)


def test_a_fenced_outcome_takes_no_image_but_its_own_attempts_with_it(placed):
    placed.start("a")
    others = left_in_the_store(placed, job="somebody-elses")
    placed.finish("a", images=[others])
    (outcome,) = placed.outcomes
    placed.record({**outcome, "attempt": 7}, {**outcome, "job": "unknown"}, {**outcome, "node": "never-seen"})
    assert placed.state() == "PLACED"
    assert is_stored(placed, others)


def test_a_node_cannot_fail_the_attempt_of_another_by_burying_its_assignment(placed):
    placed.up("b")
    headers = {"task": "workers.generate", "id": "job-1/1"}
    for origin in ({"queue": "node.b"}, {"queue": "dead", "routing_key": "dead.node.b"}, {"queue": "dead"}):
        recorder.record_dead_letters(
            placed.planner, [RecordDeadLetter.read({"reason": "forged", "headers": headers, **origin})]
        )
    assert placed.state() == "PLACED"
    assert [attempt["result"] for attempt in placed.attempts()] == [None]
    recorder.record_dead_letters(placed.planner, [RecordDeadLetter(reason="true", headers=headers, queue="node.a")])
    assert placed.attempts()[0]["result"] == "failed"


def test_while_the_store_cannot_be_written_no_job_is_done_and_later_it_is(placed, tmp_path):
    blocked = tmp_path / "images"
    blocked.write_text("a file where the folder should be")
    placed.store = type(placed.store)(f"file://{blocked}", inline_mib=1)
    placed.start("a")
    placed.finish("a")
    (outcome,) = placed.outcomes
    with pytest.raises(StoreUnavailableError, match="LADLE_STORE_URL"):
        placed.record(outcome)
    assert placed.state() == "PLACED"
    assert "done" not in placed.kinds()
    blocked.unlink()
    placed.record(outcome)
    assert placed.state() == "DONE"
    assert len(list(blocked.rglob("*.png"))) == 1


@pytest.mark.parametrize("dies", [False, True], ids=["the planner sleeps", "another takes over"])
def test_a_result_that_waited_for_the_planner_did_not_wait_for_its_node(world, dies):
    # Given two jobs of 4 s and 6 s on one node, the second behind the first
    world.up("a")
    world.tick()
    for job in ("first", "second"):
        world.submit(job)
    world.start("a")
    # When no planner runs for 300 s, in which both are drawn
    world.pause(300.0)
    for generation_s in (4.0, 6.0):
        world.start("a")
        world.finish("a", timings={"generation_s": generation_s})
    if dies:
        world.restart()
    world.tick()
    world.record()
    # Then the first began at once, the second when that was done, and then their results lay there
    first, second = world.row("first"), world.row("second")
    assert (first["waiting_s"], second["waiting_s"]) == (pytest.approx(0.0, abs=1.5), pytest.approx(4.0, abs=1.5))
    assert (first["transfer_out_s"], second["transfer_out_s"]) == (
        pytest.approx(297.0, abs=2.0),
        pytest.approx(291.0, abs=2.0),
    )
    # And what comes later is booked as ever
    world.submit("third")
    world.tick(5.0)
    world.start("a")
    world.finish("a", timings={"generation_s": 1.0})
    world.record()
    assert (world.row("third")["waiting_s"], world.row("third")["transfer_out_s"]) == (pytest.approx(4.0), 0.0)


@pytest.mark.fault(49, "B")
def test_what_one_node_calls_impossible_a_second_one_is_asked_before_the_job_is_failed(world):
    for node in ("a", "b"):
        world.up(node)
    for job, second in (("wrong", "done"), ("impossible", "failed")):
        world.submit(job)
        first = world.row(job)["node"]
        world.start(first)
        world.finish(first, "failed", kind="bad_request")
        world.record()
        other = world.row(job)["node"]
        assert other != first
        world.start(other)
        world.finish(other, second, kind="bad_request")
        world.record()
    assert (world.state("wrong"), world.state("impossible")) == ("DONE", "FAILED")
    assert world.row("impossible")["failure"]["kind"] == "bad_request"
    assert len(world.attempts("impossible")) == 2


def test_speed_and_load_are_learned_for_the_model_with_its_adapters_and_the_rest_of_the_load_for_the_model():
    world = World()
    world.up("a", abilities=has("sketch"))
    for job, adapters, timings in (
        ("job-1", None, {"generation_s": 1.0, "load_s": 6.0}),
        ("job-2", SKETCH["adapters"], {"generation_s": 4.0, "load_s": 8.5}),
    ):
        world.submit(job, request={"adapters": adapters})
        world.start("a")
        world.pause(20)
        world.finish("a", timings=timings, adapters_load_s=0.5 if adapters else 0.0)
        world.record()
    with world.ledger.transaction() as connection:
        known = world.ledger.estimates(connection).by_node["a"]
    assert known.keys() == {"tiny", "tiny + sketch"}
    units = 8 * 64 * 64e-6
    assert known["tiny"].generation_s(units) == pytest.approx(1.0)
    assert known["tiny + sketch"].generation_s(units) == pytest.approx(4.0, rel=0.2)
    assert known["tiny + sketch"].load_s.median == pytest.approx(0.5)
    assert 6.0 < known["tiny"].load_s.median < 8.0
