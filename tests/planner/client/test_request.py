"""What `submit` takes and what it refuses, before anything is queued."""

from __future__ import annotations

import uuid

import pytest

from broker_config.errors import RequestRefusedError
from broker_config.settings import Settings
from planner.client.request import build_submission, check_job_id, labels_of, uuid7

SETTINGS = Settings(_env_file=None)
CLIENTS = ("ann.0f", "bob.1e", "2d")


def build(**fields):
    return build_submission(SETTINGS, "client-1", **{"prompt": "a red heart", **fields})


def test_defaults_are_those_that_the_documentation_names():
    request = build().request
    assert (request.width_px, request.height_px) == (64, 64)
    assert (request.num_inference_steps, request.guidance_scale, request.n) == (8, 2.0, 1)
    assert request.model == "tiny"


@pytest.mark.fault(17, "B")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": "x" * 2**20}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "nul \x00"}, "prompt"),
        ({"prompt": "lone \ud800"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"negative_prompt": "\x00"}, "negative_prompt"),
        ({"negative_prompt": "x" * 5000}, "negative_prompt"),
        ({"size": "100000x100000"}, "size"),
        ({"size": "0x64"}, "size"),
        ({"size": "65x64"}, "size"),
        ({"size": "-64x64"}, "size"),
        ({"size": "64"}, "size"),
        ({"size": "9" * 5000 + "x64"}, "size"),
        ({"size": (64, 64)}, "size"),
        ({"num_inference_steps": 10**9}, "num_inference_steps"),
        ({"num_inference_steps": 10**5000}, "num_inference_steps"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 1.5}, "num_inference_steps"),
        ({"n": -1}, "n"),
        ({"n": 17}, "n"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"seed": 2**32 - 1, "n": 2}, "seed"),
        ({"seed": "abc"}, "seed"),
        ({"labels": {"a b": "x"}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": "x" * 129}}, "labels"),
        ({"labels": {"a": "\x00"}}, "labels"),
        ({"labels": {"a": 5}}, "labels"),
        ({"labels": {5: "a"}}, "labels"),
        ({"labels": "a=x"}, "labels"),
        ({"labels": {f"n{number}": "x" for number in range(17)}}, "labels"),
        ({"model": "x" * 300}, "model"),
        ({"adapter": ""}, "adapters"),
        ({"adapter": "a", "adapters": ["b"]}, "adapters"),
        ({"adapters": ["a", "a"]}, "adapters"),
        ({"adapters": {"a": float("nan")}}, "adapters"),
        ({"adapters": [7]}, "adapters"),
        ({"image": "/no/such/picture.png"}, "image"),
        ({"image": b"x" * 2**21}, "image"),
        ({"strength": 0.5}, "strength"),
        ({"image": b"x", "strength": 0}, "strength"),
        ({"ingress": "x" * 64}, "ingress"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": float("nan")}, "deadline_s"),
        ({"idempotency_key": "no spaces"}, "idempotency_key"),
        ({"idempotency_key": "../../etc"}, "idempotency_key"),
        ({"idempotency_key": 5}, "idempotency_key"),
        ({"steps": 8}, "steps"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields, field):
    with pytest.raises(RequestRefusedError) as refused:
        build(**fields)
    assert refused.value.field == field
    assert field in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.fault(17, "B")
def test_a_refusal_names_the_limit():
    with pytest.raises(RequestRefusedError, match="500"):
        build(num_inference_steps=501)
    with pytest.raises(RequestRefusedError, match=r"4\.2"):
        build(size="8192x8192")


def test_without_a_prompt_it_says_what_is_missing():
    with pytest.raises(RequestRefusedError, match="prompt: is missing"):
        build_submission(SETTINGS, "client-1", n=1)


def test_a_key_without_a_seed_gives_the_same_request_each_time():
    assert build(idempotency_key="order-7") == build(idempotency_key="order-7")
    assert build(idempotency_key="order-7").request.seed != build(idempotency_key="order-8").request.seed
    assert build(idempotency_key="order-7", seed=3).request.seed == 3


def test_without_key_and_seed_both_are_fresh():
    first, second = build(), build()
    assert first.job != second.job
    assert first.request.seed != second.request.seed


def test_a_picture_may_be_bytes_or_a_path(tmp_path):
    (tmp_path / "p.png").write_bytes(b"picture")
    by_path = build(image=tmp_path / "p.png", strength=0.5, seed=1).request
    assert by_path == build(image=b"picture", strength=0.5, seed=1).request
    assert by_path == build(image=str(tmp_path / "p.png"), strength=0.5, seed=1).request


def test_ids_are_version_7_and_sort_by_time():
    ids = [uuid7() for _ in range(3)]
    assert all(each.version == 7 and each.variant == uuid.RFC_4122 for each in ids)
    assert [str(each)[:8] for each in ids] == sorted(str(each)[:8] for each in ids)


def test_a_key_of_a_user_is_none_of_another():
    jobs = [build_submission(SETTINGS, client, prompt="x", idempotency_key="order-7").job for client in CLIENTS]
    assert jobs == ["ann.order-7", "bob.order-7", "order-7"]
    assert [check_job_id("order-7", client) for client in CLIENTS] == jobs
    assert [check_job_id(job, client) for job, client in zip(jobs, CLIENTS, strict=True)] == jobs


def test_a_key_that_is_too_long_with_the_user_s_name_is_refused_before_it_is_sent():
    build_submission(SETTINGS, "ann.0f", prompt="x", idempotency_key="k" * 124)
    with pytest.raises(RequestRefusedError, match="idempotency_key"):
        build_submission(SETTINGS, "ann.0f", prompt="x", idempotency_key="k" * 125)


@pytest.mark.parametrize("n", [1, 16])
def test_a_chosen_seed_leaves_room_for_every_image(monkeypatch, n):
    monkeypatch.setattr("planner.client.request.secrets.randbelow", lambda limit: limit - 1)
    request = build(n=n).request
    assert request.seed + n - 1 <= 2**32 - 1
    keys = [build(n=n, idempotency_key=f"order-{number}").request.seed for number in range(50)]
    assert len(set(keys)) == 50


@pytest.mark.parametrize(
    ("given", "one"),
    [
        ("free/", "./free"),
        ("./free", "./free"),
        (".//free/./", "./free"),
        ("free", "free"),
        ("some/model", "some/model"),
        ("some/model/", "./some/model"),
        ("/models/free/", "/models/free"),
        ("../free/", "../free"),
    ],
)
def test_a_folder_is_one_model_however_it_is_written(given, one):
    assert build(model=given).request.model == one
    assert Settings(_env_file=None, models=f"tiny, {given}").node_models == ("tiny", one)


def test_labels_go_with_the_submission_and_are_no_part_of_the_request():
    plain, labelled = build(seed=1), build(seed=1, labels={"album": "spring", "team/a.b": ""})
    assert labelled.labels == {"album": "spring", "team/a.b": ""}
    assert labelled.request == plain.request
    assert plain.labels == build(labels=None).labels == {}


def test_a_label_is_written_as_name_and_value():
    assert labels_of(["album=spring", "sum=1+1=2", "empty="]) == {"album": "spring", "sum": "1+1=2", "empty": ""}
    assert labels_of(["a=x", "a=x"]) == {"a": "x"}


@pytest.mark.parametrize("texts", [["album"], ["=x"], ["a b=x"], [""], ["a=x", "a=y"], ["a=\x00"], ["a=\ud800"]])
def test_what_is_no_label_is_refused(texts):
    with pytest.raises(RequestRefusedError, match="label: "):
        labels_of(texts)
