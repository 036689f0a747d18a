"""Submissions, cancels and questions of clients."""

from __future__ import annotations

import pytest
from image_requests import an_image_request
from planner_world import World

from broker_config.refusals import KEY_REUSED


def raw(job="job-1", client="client-1", request=None, **fields):
    return {"job": job, "client": client, "request": an_image_request(**(request or {})), **fields}


@pytest.mark.fault(17, "B")
@pytest.mark.parametrize(
    ("submission", "field"),
    [
        (raw(request={"prompt": "x" * 2**20}), "prompt"),
        (raw(request={"prompt": "nul \x00"}), "prompt"),
        (raw(request={"prompt": "  "}), "prompt"),
        (raw(request={"width_px": 100_000, "height_px": 100_000}), "size"),
        (raw(request={"width_px": 10**400}), "width_px"),
        (raw(request={"width_px": 65}), "width_px"),
        (raw(request={"num_inference_steps": 10**9}), "num_inference_steps"),
        (raw(request={"num_inference_steps": 10**5000}), "num_inference_steps"),
        (raw(request={"n": -1}), "n"),
        (raw(request={"guidance_scale": float("nan")}), "guidance_scale"),
        (raw(request={"seed": -1}), "seed"),
        (raw(request={"surprise": 1}), "surprise"),
        (raw(surprise=1), "surprise"),
        (raw(priority=7), "priority"),
        (raw(deadline_s=0), "deadline_s"),
        (raw(request={"negative_prompt": "x" * 2**20}), "negative_prompt"),
        (raw(request={"seed": 2**32}), "seed"),
        (raw(request={"seed": 2**32 - 3, "n": 4}), "seed"),
        (raw(request={"adapter": "x" * 129}), "adapters"),
        (raw(request={"adapters": {"x": 10.5}}), "adapters"),
        (raw(request={"adapters": dict.fromkeys("abcdefghi", 1.0)}), "adapters"),
        (raw(request={"adapters": {}}), "adapters"),
        (raw(request={"adapter": ["x"]}), "adapter"),
        (raw(request={"model": "x" * 257}), "model"),
        (raw(request={"guidance_scale": 101}), "guidance_scale"),
        (raw(request={f"field{number}": number for number in range(10_000)}), "field"),
        (raw(ingress="x" * 64), "ingress"),
        (raw(request={"image": "A" * 2**21, "strength": 0.5}), "image"),
        ({"job": "job-1", "client": "client-1"}, "request"),
    ],
)
def test_a_bad_submission_is_refused_with_its_field_and_nothing_is_written(world, submission, field):
    world.submit_raw(submission)
    (event,) = world.events
    assert event.kind == "refused"
    assert field in event.reason
    assert len(event.reason) < 300
    with world.ledger.transaction() as connection:
        assert world.ledger.open_jobs(connection) == []


def test_a_good_submission_beside_a_bad_one_is_accepted(world):
    world.submit_raw(raw("bad", request={"n": 0}), raw("good"))
    assert world.kinds("good") == ["accepted"]
    assert world.kinds("bad") == ["refused"]


def test_a_submission_without_usable_names_is_dropped(world):
    world.submit_raw(raw(client="x" * 300), raw(job="no spaces please"))
    assert world.events == []


def test_the_same_key_and_request_is_the_same_job(world):
    world.submit("order-7")
    world.submit("order-7", client="client-2")
    assert world.kinds("order-7") == ["accepted", "status"]
    world.up("a")
    world.draw("a")
    assert len(world.attempts("order-7")) == 1
    world.submit("order-7", client="client-3")
    assert world.events[-1].kind == "done"
    assert world.events[-1].images[0].data


def test_the_same_key_with_another_request_is_refused_and_the_first_job_goes_on(world):
    world.submit("order-7")
    world.submit("order-7", request={"prompt": "something else"})
    assert "idempotency_key" in world.events[-1].reason
    world.up("a")
    world.draw("a")
    world.submit("order-7", request={"prompt": "something else"})
    assert world.events[-1].kind == "refused"
    assert world.state("order-7") == "DONE"


def test_whoever_submits_the_same_again_owns_the_job_and_the_one_before_still_hears(world):
    world.submit("order-7", client="first")
    world.submit("order-7", client="second")
    world.up("a")
    assert world.row("order-7")["client"] == "second"
    assert [e.kind for e in world.told["first"]] == ["accepted", "placed"]
    assert [e.kind for e in world.told["second"]] == ["status", "placed"]


def test_whoever_asks_hears_of_the_job_and_takes_nothing_from_its_client(world):
    world.submit(client="owner")
    world.ask("job-1", client="asker")
    world.ask("job-1", client="owner")
    assert [e.kind for e in world.told["owner"]] == ["accepted", "status"]
    assert [e.kind for e in world.told["asker"]] == ["status"]
    world.up("a")
    world.draw("a")
    assert world.row()["client"] == "owner"
    assert [e.kind for e in world.told["owner"]][2:] == ["placed", "done"]
    assert [e.kind for e in world.told["asker"]][1:] == ["placed", "done"]
    assert all(events[-1].images[0].data for events in world.told.values())


def test_a_job_has_few_listeners_the_newest(world):
    world.submit(client="owner")
    for number in range(12):
        world.ask("job-1", client=f"asker-{number}")
    world.cancel("job-1")
    told = {client for client, events in world.told.items() if events[-1].kind == "cancelled"}
    assert told == {"owner", *(f"asker-{number}" for number in range(4, 12))}


def test_above_max_waiting_submissions_are_refused():
    world = World(max_waiting=2)
    for index in range(3):
        world.submit(f"job-{index}")
    assert world.kinds("job-2") == ["refused"]
    assert "LADLE_MAX_WAITING" in world.events[-1].reason


def test_above_its_own_limit_a_client_is_refused_and_others_are_not():
    world = World(max_waiting_per_client=2)
    for index in range(3):
        world.submit(f"ann-{index}", client=f"ann.{index}")  # three connections of one user
    world.submit("bob-0", client="bob.0")
    assert world.kinds("ann-2") == ["refused"]
    assert "LADLE_MAX_WAITING_PER_CLIENT" in world.told["ann.2"][-1].reason
    assert world.kinds("bob-0") == ["accepted"]
    world.cancel("ann-0")
    world.submit("ann-3", client="ann.3")
    assert world.kinds("ann-3") == ["accepted"]


def test_without_a_limit_of_its_own_a_client_may_have_all_there_is():
    world = World(max_waiting_per_client=0, max_waiting=30)
    for index in range(31):
        world.submit(f"job-{index}")
    assert [world.kinds(f"job-{index}") for index in (29, 30)] == [["accepted"], ["refused"]]


def test_an_accepted_job_has_an_eta_once_a_node_is_ready(world):
    world.submit("early")
    assert world.events[-1].eta_p50_s is None
    world.up("a")
    world.submit("late")
    accepted = next(e for e in world.events if e.job == "late" and e.kind == "accepted")
    assert 0 < accepted.eta_p50_s < accepted.eta_p90_s


def test_a_waiting_job_is_cancelled_at_once(world):
    world.submit()
    world.cancel("job-1")
    assert world.kinds() == ["accepted", "cancelled"]
    assert world.state() == "CANCELLED"
    world.up("a")
    assert world.placed_on("a") == []


def test_a_placed_job_that_is_cancelled_keeps_its_place_until_the_node_lets_go():
    world = World(window=1)
    world.up("a")
    world.submit("one")
    world.submit("two")
    world.cancel("one")
    assert world.state("one") == "CANCELLED"
    assert world.state("two") == "WAITING"
    assert world.start("a") is None  # the worker drops it
    world.record()
    assert world.placed_on("a") == ["two"]


def test_a_running_job_is_cancelled_and_its_late_result_is_refused(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.report("a")
    world.cancel("job-1")
    assert ("job-1", 1) in world.node("a").withdrawn
    world.finish("a")  # too late to stop
    world.record()
    assert world.state() == "CANCELLED"
    assert world.row()["images"] is None


def test_a_done_job_stays_done(world):
    world.up("a")
    world.submit()
    world.draw("a")
    world.cancel("job-1")
    assert world.state() == "DONE"
    assert world.kinds() == ["accepted", "placed", "done"]


def test_cancelling_an_unknown_job_changes_nothing(world):
    world.cancel("never-heard-of")
    assert world.events == []


def test_whoever_asks_gets_the_state_and_why_it_waits(world):
    world.submit()
    world.ask("job-1", "unknown", client="client-2")
    status, unknown = world.events[-2:]
    assert (status.kind, status.state) == ("status", "WAITING")
    assert "no node is ready" in status.reason
    assert unknown.kind == "unknown"
    world.up("a", models=["other"])
    world.ask("job-1")
    assert "'tiny'" in world.events[-1].reason


def test_a_finished_job_is_answered_with_its_images_delays_and_provenance(world):
    world.up("a")
    world.submit()
    world.start("a")
    world.finish("a", timings={"load_s": 2.0, "generation_s": 3.0}, warnings=["careful"])
    world.clock.time_s += 10
    world.record()
    done = world.events[-1]
    world.ask("job-1", client="client-2")
    answer = world.events[-1]
    assert answer.images[0].png() == done.images[0].png()
    assert answer.model_copy(update={"images": done.images}) == done
    assert answer.delays.service_delay_s == pytest.approx(10)
    assert answer.delays.waiting_s == pytest.approx(5)
    assert answer.node == "a"
    assert answer.warnings == ("careful",)


def test_a_job_whose_image_was_removed_is_answered_all_the_same(world):
    world.up("a")
    world.submit()
    world.draw("a")
    world.files.clear()
    world.ask("job-1")
    assert world.events[-1].kind == "done"
    assert world.events[-1].images[0].data is None
    assert world.events[-1].images[0].url


@pytest.mark.parametrize(
    ("ingress", "hint"), [("narnia", ""), ("atic", "; did you mean 'attic'?"), ("attic", None), (None, None)]
)
def test_an_ingress_that_is_no_node_is_accepted_with_a_warning(world, ingress, hint):
    world.up("attic")
    world.submit(ingress=ingress)
    accepted = next(event for event in world.events if event.kind == "accepted")
    assert accepted.warnings == (
        ()
        if hint is None
        else (f"ingress {ingress!r} is no node that has reported, so its input is equally near to all{hint}",)
    )


def test_before_any_node_has_reported_an_ingress_is_not_doubted(world):
    world.submit(ingress="narnia")
    assert world.events[0].warnings == ()


ANN, BOB = "ann.0f", "bob.1e"


@pytest.fixture
def of_ann(world):
    """A world in which the user ann has a job that is done, and one that waits."""
    world.up("a")
    world.submit("ann.done", client=ANN, owner="ann")
    world.draw("a")
    world.remove("a")
    world.submit("ann.open", client=ANN, owner="ann")
    assert (world.state("ann.done"), world.state("ann.open")) == ("DONE", "WAITING")
    world.events.clear()
    world.told.clear()
    return world


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("job", ["ann.done", "ann.open"])
def test_another_user_hears_nothing_of_a_job_and_cannot_cancel_it(of_ann, job):
    before = of_ann.row(job)
    of_ann.cancel(job, owner="bob")
    of_ann.ask(job, "never", client=BOB, owner="bob")
    of_ann.submit(job, client=BOB, owner="bob")
    told = [(event.kind.value, event.state, event.images) for event in of_ann.told[BOB]]
    assert told == [("unknown", None, ())] * 2 + [("refused", None, ())]
    assert of_ann.row(job) == before
    assert of_ann.told.keys() == {BOB}


@pytest.mark.fault(48, "B")
def test_a_known_uuid_of_another_user_is_refused_like_a_key_that_was_used_before(world):
    known = "01936b1c-9d7e-7c53-8f7e-0d2f4b6a8c10"
    world.submit(known, client=ANN, owner="ann")
    world.submit(known, client=BOB, owner="bob")
    (refused,) = world.told[BOB]
    assert (refused.kind, refused.reason) == ("refused", KEY_REUSED)
    assert world.row(known)["client"] == ANN


@pytest.mark.parametrize("sender", ["ann", None])
def test_its_own_user_and_one_with_all_rights_hear_of_a_job_and_cancel_it(of_ann, sender):
    of_ann.ask("ann.open", "ann.done", client=ANN, owner=sender)
    of_ann.cancel("ann.open", owner=sender)
    assert [event.kind for event in of_ann.told[ANN]] == ["status", "done", "cancelled"]
    assert of_ann.told[ANN][1].images


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("job", ["order-7", "bob", "bob-1", "ann.order-7", "01936b1c9d7e7c538f7e0d2f4b6a8c10"])
def test_a_user_can_take_no_id_that_another_may_want(world, job):
    world.submit(job, client=BOB, owner="bob")
    (event,) = world.told[BOB]
    assert event.kind == "refused"
    assert "begin with 'bob.'" in event.reason
    world.submit(job, client="client-1")
    assert world.kinds(job) == ["refused", "accepted"]


@pytest.mark.fault(48, "B")
def test_priority_high_needs_a_right():
    world = World(high_priority="ann, berlin")
    for owner in ("ann", "berlin", "bob"):
        world.submit(f"{owner}.1", client=f"{owner}.0f", owner=owner, priority=0)
    world.submit("of-the-operator", priority=0)
    kinds = {event.job: event.kind for event in world.events}
    assert kinds == {"ann.1": "accepted", "berlin.1": "accepted", "bob.1": "refused", "of-the-operator": "accepted"}
    assert "LADLE_HIGH_PRIORITY" in world.told["bob.0f"][0].reason
    world.submit("bob.2", client="bob.0f", owner="bob", priority=1)
    assert world.kinds("bob.2") == ["accepted"]


@pytest.mark.fault(48, "B")
@pytest.mark.parametrize("flood", [30, 90])
def test_a_user_gains_nothing_by_giving_each_job_another_client(flood):
    world = World(fairness=0.0)
    for number in range(flood):
        world.submit(f"bob.{number}", client=f"bob.{number:x}", owner="bob")
    for number in range(3):
        world.submit(f"ann.{number}", client=f"ann.{number:x}", owner="ann")
    world.up("a")
    drawn = []
    while len(drawn) < 8:
        drawn.append(world.start("a").job)
        world.draw("a")
    assert sum(job.startswith("ann.") for job in drawn) == 3


def drawn_while_abe_and_zoe_wait(user, gateways):
    """Which key's jobs are drawn first: abe has 30 and then zoe 3, all by one user of the broker."""
    world = World(fairness=0.0, gateways=gateways)
    for key, count in (("abe", 30), ("zoe", 3)):
        for number in range(count):
            world.submit(f"{user}.http.{key}.{number}", client=f"{user}.{key}.{number:x}", owner=user)
    world.up("a")
    drawn = []
    while len(drawn) < 8:
        drawn.append(world.start("a").job)
        world.draw("a")
    return [job.split(".")[2] for job in drawn]


def test_the_keys_of_a_gateway_have_a_fair_share_each():
    assert drawn_while_abe_and_zoe_wait("web", gateways="web").count("zoe") == 3


def test_the_names_of_keys_gain_nothing_for_a_user_that_is_no_gateway():
    assert drawn_while_abe_and_zoe_wait("web", gateways="http").count("zoe") == 0


def test_the_limit_of_waiting_jobs_is_one_of_each_key():
    world = World(max_waiting_per_client=2)
    for key in ("ann", "ann", "ann", "bob"):
        world.submit(f"http.{key}.{len(world.events)}", client=f"http.{key}.{len(world.events):x}")
    assert [event.kind for event in world.events] == ["accepted", "accepted", "refused", "accepted"]


def test_a_model_that_no_node_serves_or_may_fetch_is_refused_with_the_name_most_like_it(world):
    world.up("a", models=["tiny", "heart-xl"])
    world.submit("misspelt", request={"model": "heart-lx"})
    world.submit("unlike", request={"model": "zeppelin"})
    world.submit("served", request={"model": "heart-xl"})
    assert [event.kind for event in world.events[:3]] == ["refused", "refused", "accepted"]
    assert "did you mean 'heart-xl'?" in world.events[0].reason
    assert "served are heart-xl, tiny" in world.events[1].reason


@pytest.mark.parametrize(
    "others", [{}, {"b": {"models": None}}, {"b": {"models": [], "state": "unfit"}}], ids=["none", "any", "unfit"]
)
def test_a_model_that_a_node_may_come_to_serve_is_waited_for(world, others):
    if others:
        world.up("a", models=["tiny"])
    for name, report in others.items():
        world.up(name, **report)
    world.submit(request={"model": "zeppelin"})
    assert world.kinds()[0] == "accepted"


def test_a_job_that_was_accepted_before_is_not_refused_for_its_model(world):
    world.submit(request={"model": "zeppelin"})
    world.up("a", models=["tiny"])
    world.submit(request={"model": "zeppelin"})
    assert world.kinds() == ["accepted", "status"]


def test_a_size_that_no_node_that_serves_the_model_takes_is_refused_at_once():
    world = World()
    world.up("a", models=["tiny"], abilities={"models": {"tiny": {"sizes_px": [64, 96]}}})
    world.submit(request={"width_px": 256})
    assert world.kinds() == ["refused"]
    assert world.events[0].reason == "size: 256x64 is not a size of 'tiny': each side must be 64 or 96 pixels"
    world.up("b")  # it may know a tiny model that takes others
    world.submit("job-2", request={"width_px": 256})
    assert world.row("job-2")["node"] == "b"
