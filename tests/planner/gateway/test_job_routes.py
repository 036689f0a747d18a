"""Ladle's own surface."""

from __future__ import annotations

import json

import pytest
from gateway_server import serving

from planner.gateway.keys import KeyFile

LONG = {"prompt": "x", "size": "512x512", "num_inference_steps": 400}


def done(gateway, site, **fields):
    job = gateway.ask("/jobs", {"prompt": "x", **fields}).json["job"]
    site.wait_for_state(job, "DONE")
    return job


def events_of(body):
    """The events of a stream, as pairs of kind and data."""
    blocks = [block.splitlines() for block in body.decode().split("\n\n") if "data: " in block]
    return [(lines[1].removeprefix("event: "), json.loads(lines[2].removeprefix("data: "))) for lines in blocks]


def test_a_job_is_accepted_at_once_and_says_where_to_look(gateway, site):
    answer = gateway.ask("/jobs", {"prompt": "x", "seed": 3, "quality": "hd"})
    assert answer.status == 202
    assert answer.headers["location"] == answer.json["status"] == f"/jobs/{answer.json['job']}"
    assert "quality" in answer.headers["x-ladle-warnings"]
    site.wait_for_state(answer.json["job"], "DONE")
    told = gateway.ask(answer.json["status"]).json
    assert (told["state"], told["node"], told["images"][0]["seed"]) == ("DONE", "a", 3)
    assert gateway.ask(told["images"][0]["url"]).body.startswith(b"\x89PNG")
    assert "data" not in json.dumps(told)


def test_every_process_knows_the_job(gateway, site):
    job = done(gateway, site)
    with serving(site.settings) as other:
        assert other.ask(f"/jobs/{job}").json["state"] == "DONE"
        assert other.ask(f"/images/{job}/0.png").body == gateway.ask(f"/images/{job}/0.png").body


def test_events_end_with_the_last_one(gateway, site):
    job = gateway.ask("/jobs", {"prompt": "x", "num_inference_steps": 300}).json["job"]
    told = events_of(gateway.ask(f"/jobs/{job}/events").body)
    assert told[-1][0] == "done"
    assert told[-1][1]["images"]
    assert "step" in {kind for kind, _ in told}
    # Who comes late, or again, hears how it ended.
    assert [kind for kind, _ in events_of(gateway.ask(f"/jobs/{job}/events").body)] == ["done"]


def test_a_stream_that_was_cut_goes_on_at_another_gateway_and_one_that_has_ended_is_not_begun_again(gateway, site):
    job = gateway.ask("/jobs", {"prompt": "x", "num_inference_steps": 300}).json["job"]
    site.wait_for_state(job, "RUNNING")
    with serving(site.settings) as other:
        body = other.ask(f"/jobs/{job}/events", last_event_id="step.1.7").body
        assert events_of(body)[-1][0] == "done"
        last_id = [line for line in body.decode().splitlines() if line.startswith("id: ")][-1].removeprefix("id: ")
        ended = other.ask(f"/jobs/{job}/events", last_event_id=last_id)
        assert (ended.status, ended.body) == (204, b"")


def waiting_job(gateway, site, **headers):
    """A job behind others, on a node that is busy."""
    jobs = [gateway.ask("/jobs", LONG, **headers).json["job"] for _ in range(4)]
    site.wait_for_state(jobs[-1], "WAITING")
    return jobs


def test_the_priority_of_a_job_that_waits_is_changed_by_its_owner_with_the_right_to_it(site, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = ({"authorization": f"Bearer {key}"} for key in (keys.add("ann_p", may_high=True), keys.add("bob_p")))
    with serving(site.settings, http_keys_file=str(keys.path)) as guarded:
        jobs = waiting_job(guarded, site, **ann)
        moved = guarded.ask(f"/jobs/{jobs[-1]}", {"priority": "high"}, method="PATCH", **ann)
        assert (moved.status, moved.json["kind"], moved.json["priority"]) == (200, "priority", "high")
        assert guarded.ask(f"/jobs/{jobs[-1]}", {"priority": "low"}, method="PATCH", **bob).status == 404
        denied = guarded.ask(f"/jobs/{jobs[-1]}", {"priority": "HIGH"}, method="PATCH", **bob)
        assert (denied.status, denied.error["code"]) == (403, "priority_denied")
        for wrong in ({}, {"priority": "urgent"}, {"priority": None}, {"priority": "low", "n": 2}):
            answer = guarded.ask(f"/jobs/{jobs[-1]}", wrong, method="PATCH", **ann)
            assert (answer.status, answer.error["param"]) == (422, "priority")
        for job in jobs[::-1]:
            guarded.ask(f"/jobs/{job}", method="DELETE", **ann)
            site.wait_for_state(job, "CANCELLED")
        late = guarded.ask(f"/jobs/{jobs[0]}", {"priority": "low"}, method="PATCH", **ann)
        assert (late.status, late.error["code"]) == (409, "not_waiting")


def test_a_running_job_is_cancelled(gateway, site):
    job = gateway.ask("/jobs", LONG).json["job"]
    site.wait_for_state(job, "RUNNING")
    early = gateway.ask(f"/images/{job}/0.png")
    assert (early.status, early.error["code"]) == (409, "not_done")
    assert gateway.ask(f"/jobs/{job}", method="DELETE").status == 202
    site.wait_for_state(job, "CANCELLED")
    assert gateway.ask(f"/jobs/{job}").json["kind"] == "cancelled"
    assert gateway.ask(f"/images/{job}/0.png").error["code"] == "cancelled"


def test_an_owner_lists_its_newest_jobs(gateway, site, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann_l", "bob_l"))
    with serving(site.settings, http_keys_file=str(keys.path)) as guarded:
        jobs = [guarded.ask("/jobs", {"prompt": "x"}, **ann).json["job"] for _ in range(3)]
        for job in jobs:
            site.wait_for_state(job, "DONE")
        told = guarded.ask("/jobs?state=DONE", **ann).json["jobs"]
        assert [entry["job"] for entry in told] == jobs[::-1]
        assert {(entry["state"], entry["model"], entry["node"]) for entry in told} == {("DONE", "tiny", "a")}
        assert [entry["job"] for entry in guarded.ask("/jobs?limit=1", **ann).json["jobs"]] == jobs[-1:]
        assert guarded.ask("/jobs?state=FAILED", **ann).json["jobs"] == []
        assert guarded.ask("/jobs", **bob).json["jobs"] == []


def test_jobs_are_listed_by_their_labels(gateway, site):
    labels = {"album": "listed", "page": "1 & 2"}
    job = done(gateway, site, labels=labels)
    done(gateway, site, labels={"album": "listed"})
    (entry,) = gateway.ask("/jobs?label=album=listed&label=page=1%20%26%202").json["jobs"]
    assert (entry["job"], entry["labels"]) == (job, labels)
    assert len(gateway.ask("/jobs?label=album=listed").json["jobs"]) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("state=LOST", "state"),
        ("label=spring", "label"),
        ("&".join(f"label=n{number}=x" for number in range(17)), "label"),
    ],
)
def test_a_wrong_question_for_jobs_is_refused(gateway, query, field):
    answer = gateway.ask(f"/jobs?{query}")
    assert (answer.status, answer.error["param"]) == (422, field)


def test_without_a_ledger_no_jobs_are_listed(settings):
    with serving(settings) as gateway:
        assert gateway.ask("/jobs").error["code"] == "no_ledger"


@pytest.mark.parametrize("suffix", ["", "/events"])
@pytest.mark.parametrize("job", ["http.local.none", "order-7", "http.other.1", "x" * 300])
def test_an_unknown_job_is_not_found(gateway, job, suffix):
    assert gateway.ask(f"/jobs/{job}{suffix}").status in (404, 422)


@pytest.mark.parametrize(
    ("name", "status"), [("1.png", 404), ("0.gif", 404), ("0.jpeg?compression=x", 422), ("0.webp?compression=3", 200)]
)
def test_an_image_is_had_by_its_name(gateway, site, name, status):
    job = done(gateway, site)
    assert gateway.ask(f"/images/{job}/{name}").status == status


def test_the_same_key_is_the_same_job(gateway):
    jobs = {gateway.ask("/jobs", {"prompt": "x"}, idempotency_key="order-5").json["job"] for _ in range(3)}
    assert len(jobs) == 1
