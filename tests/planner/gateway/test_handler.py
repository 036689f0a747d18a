"""Jobs behind requests: cancelled with them, found again by them, and shown to nobody else."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
import time

import openai
import pytest
from gateway_server import serving
from ladle_site import wait_until

from planner.gateway.job_ids import JobIds
from planner.gateway.keys import KeyFile, Owner
from planner.gateway.waiting import Caller
from planner.state.jobs import owner_of_client

LONG = {"prompt": "x", "size": "512x512", "num_inference_steps": 400}  # 100 s on the emulated node
IMAGES = "/v1/images/generations"
FIRST, AGAIN = ({"x_stainless_retry_count": count} for count in ("0", "1"))


@pytest.fixture
def newest_job(site):
    """Wait for a job that was not there before; return its id."""

    def jobs():
        with site.ledger.transaction() as connection:
            return [row["id"] for row in site.ledger.recent_jobs(connection, 100)]

    before = set(jobs())

    def find():
        wait_until(lambda: set(jobs()) - before, "a new job")
        (job,) = set(jobs()) - before
        return job

    return find


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["waiting", "streamed"])
def test_a_client_that_goes_takes_its_job_along(site, newest_job, fields):
    with serving(site.settings, http_cancel_after_s=0) as gateway:
        connection = gateway.begin(IMAGES, {**LONG, **fields})
        job = newest_job()
        site.wait_for_state(job, "RUNNING")
        connection.close()
        site.wait_for_state(job, "CANCELLED")


def test_a_job_goes_on_after_its_client_where_that_is_set(site, newest_job):
    with serving(site.settings, http_cancel_after_s="inf") as gateway:
        connection = gateway.begin(IMAGES, {"prompt": "x", "size": "256x256", "num_inference_steps": 20})
        job = newest_job()
        connection.close()
        site.wait_for_state(job, "DONE")


def test_a_repetition_that_comes_too_late_is_drawn_anew(site, newest_job):
    fields = {"prompt": "x", "size": "256x256", "num_inference_steps": 40}
    with serving(site.settings, http_cancel_after_s=0) as gateway:
        connection = gateway.begin(IMAGES, fields, **FIRST)
        job = newest_job()
        connection.close()
        site.wait_for_state(job, "CANCELLED")
        answer = gateway.ask(IMAGES, fields, **AGAIN)
        assert answer.status == 200
        assert answer.json["ladle"]["job"] != job


def test_who_has_an_idempotency_key_may_go_and_come_back(site, newest_job):
    fields = {"prompt": "x", "size": "256x256", "num_inference_steps": 20}
    with serving(site.settings, http_cancel_after_s=0) as gateway:
        connection = gateway.begin(IMAGES, fields, idempotency_key="order-9")
        job = newest_job()
        connection.close()
        site.wait_for_state(job, "DONE")
        assert gateway.ask(IMAGES, fields, idempotency_key="order-9").json["ladle"]["job"] == job


def test_a_request_that_openai_repeats_finds_its_job(site, newest_job):
    fields = {"prompt": "x", "size": "256x256", "num_inference_steps": 20}
    with serving(site.settings) as gateway:
        connection = gateway.begin(IMAGES, fields, **FIRST)
        job = newest_job()
        connection.close()
        answer = gateway.ask(IMAGES, fields, **AGAIN)
        assert answer.json["ladle"]["job"] == job
        assert newest_job() == job
        # An answer that was lost on its way is given again; what is no repetition is drawn anew.
        assert gateway.ask(IMAGES, fields, **AGAIN).json["data"][0]["b64_json"] == answer.json["data"][0]["b64_json"]
        assert gateway.ask(IMAGES, fields, **FIRST).json["ladle"]["job"] != job


def test_openai_itself_repeats_a_request_that_timed_out_and_nothing_is_drawn_twice(site, newest_job):
    with (
        serving(site.settings) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=3, timeout=1.0) as client,
    ):
        fields = {"num_inference_steps": 30}  # 2 s: the first attempt gives up before
        answer = client.images.generate(prompt="y", size="256x256", extra_body=fields)
        assert answer.ladle["job"] == newest_job()


def whole_request(client):
    """Return a request's bytes, changed so that the gateway closes the connection after its answer."""
    with client.makefile("rb") as stream:
        lines = list(iter(stream.readline, b"\r\n"))
        (length,) = (int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length"))
        kept = [line for line in lines if not line.lower().startswith(b"connection")]
        return b"".join([*kept, b"connection: close\r\n\r\n", stream.read(length)])


def cut_the_first(listening, port):
    """Pass two requests on to the gateway; hang up on the client of the first one before it has an answer."""
    for is_cut in (True, False):
        client, _ = listening.accept()
        with client, socket.create_connection(("127.0.0.1", port)) as gateway:
            gateway.sendall(whole_request(client))
            if is_cut:
                time.sleep(0.5)  # the gateway has it
                continue
            while part := gateway.recv(65536):
                client.sendall(part)


def test_openai_itself_repeats_a_request_whose_connection_was_cut_and_nothing_is_drawn_twice(site, newest_job):
    with serving(site.settings) as gateway, socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = threading.Thread(target=cut_the_first, args=(listening, gateway.port), daemon=True)
        proxy.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=3) as client:
            answer = client.images.generate(prompt="cut", size="256x256", extra_body={"num_inference_steps": 30})
        assert answer.ladle["job"] == newest_job()
        proxy.join()


def test_one_idempotency_key_is_one_job_in_every_process(site):
    key = {"idempotency_key": "order-1"}
    fields = {"prompt": "x", "num_inference_steps": 50}
    with (
        serving(site.settings) as one,
        serving(site.settings) as other,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(gateway.ask, IMAGES, fields, **key) for gateway in (one, other, one, other)]
        answers = [future.result().json for future in asked]
        assert len({answer["ladle"]["job"] for answer in answers}) == 1
        assert len({answer["data"][0]["b64_json"] for answer in answers}) == 1
        refused = other.ask(IMAGES, {"prompt": "another"}, **key)
        assert (refused.status, refused.error["param"]) == (409, "Idempotency-Key")


def test_while_one_of_two_waits_the_job_goes_on(site, newest_job):
    fields = {"prompt": "x", "size": "256x256", "num_inference_steps": 20}
    with serving(site.settings, http_cancel_after_s=0) as gateway, concurrent.futures.ThreadPoolExecutor(1) as pool:
        staying = pool.submit(gateway.ask, IMAGES, fields, **FIRST)
        job = newest_job()
        gateway.begin(IMAGES, fields, **AGAIN).close()
        assert staying.result().json["ladle"]["job"] == job == newest_job()


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_cannot_be_is_refused(gateway, key):
    assert gateway.ask(IMAGES, {"prompt": "x"}, idempotency_key=key).error["param"] == "Idempotency-Key"


def test_nobody_sees_the_jobs_of_another(site, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "bob"))
    with serving(site.settings, http_keys_file=str(keys.path)) as gateway:
        answers = [gateway.ask(IMAGES, {"prompt": "x"}, idempotency_key="same", **who).json for who in (ann, bob)]
        of_ann, of_bob = (answer["ladle"]["job"] for answer in answers)
        assert of_ann != of_bob
        for method, path in (
            ("GET", f"/jobs/{of_ann}"),
            ("DELETE", f"/jobs/{of_ann}"),
            ("GET", f"/jobs/{of_ann}/events"),
            ("GET", f"/images/{of_ann}/0.png"),
        ):
            assert gateway.ask(path, method=method, **bob).status == 404
        assert gateway.ask(f"/jobs/{of_ann}", **ann).json["state"] == "DONE"
        assert gateway.ask(f"/images/{of_ann}/0.png", **ann).status == 200
        # The URL alone is enough, for as long as the key is there.
        url = answers[0]["data"][0]["url"].removeprefix(gateway.url)
        assert gateway.ask(url).status == 200
        assert gateway.ask(url.replace("ann", "bob")).status == 403
        keys.remove("ann")
        assert gateway.ask(url).status == 403


def test_a_signature_without_a_key_opens_no_image_of_the_time_without_keys(site, tmp_path):
    with serving(site.settings) as gateway:
        url = gateway.ask(IMAGES, {"prompt": "x"}).json["data"][0]["url"].removeprefix(gateway.url)
        assert gateway.ask(url).status == 200
    with serving(site.settings, http_keys="always") as gateway:
        assert gateway.ask(url).status == 403


def test_each_key_is_one_owner_to_the_planner_whichever_gateway_it_asks(site, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    headers = [{"authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "bob")]
    jobs = []
    for _ in range(2):
        with serving(site.settings, http_keys_file=str(keys.path)) as gateway:
            jobs += [gateway.ask(IMAGES, {"prompt": "x"}, **who).json["ladle"]["job"] for who in headers]
    owners = [owner_of_client(row["client"], site.settings.gateway_users) for row in site.rows(*jobs)]
    assert owners == ["http.ann", "http.bob"] * 2


def test_a_key_that_has_too_many_jobs_waiting_is_asked_to_try_again_and_no_other(make_site, tmp_path):
    site = make_site(max_waiting_per_client=1)
    site.start_planner()
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "bob"))
    with serving(site.settings, http_keys_file=str(keys.path)) as gateway:
        site.wait_for_state(gateway.ask("/jobs", {"prompt": "x"}, **ann).json["job"], "WAITING")
        answer = gateway.ask(IMAGES, {"prompt": "x"}, **ann)
        assert (answer.status, answer.error["code"]) == (429, "too_many_jobs")
        site.wait_for_state(gateway.ask("/jobs", {"prompt": "x"}, **bob).json["job"], "WAITING")


def test_without_a_planner_a_request_ends_in_time_and_nothing_is_lost(make_site):
    site = make_site()
    with serving(site.settings, http_timeout_s=1.0) as gateway:
        began_at = time.monotonic()
        answer = gateway.ask(IMAGES, {"prompt": "x"}, idempotency_key="order-2")
        assert answer.status == 503
        assert time.monotonic() - began_at >= 1.0
        assert "no planner answered within 1 s" in answer.error["message"]
        assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("true", "10")
    site.start("a")
    site.wait_for_state(JobIds(site.settings).new(Caller(owner=Owner(name="local"), key="order-2")), "DONE")
    with serving(site.settings) as gateway:
        assert gateway.ask(IMAGES, {"prompt": "x"}, idempotency_key="order-2").status == 200


def test_a_job_that_takes_too_long_goes_on_and_the_answer_says_when_to_ask_again(site):
    fields = {"prompt": "x", "size": "256x256", "num_inference_steps": 40}
    with serving(site.settings, http_timeout_s=0.5, http_cancel_after_s=0) as gateway:
        answer = gateway.ask(IMAGES, fields, idempotency_key="order-3")
        assert (answer.status, answer.error["code"]) == (503, "timeout")
        assert int(answer.headers["retry-after"]) >= 1
    job = JobIds(site.settings).new(Caller(owner=Owner(name="local"), key="order-3"))
    site.wait_for_state(job, "DONE")


def test_when_too_many_jobs_wait_the_answer_is_to_try_again(make_site):
    site = make_site(max_waiting=1)
    site.start_planner()
    with serving(site.settings) as gateway:
        waiting = gateway.ask("/jobs", {"prompt": "x"}).json["job"]
        site.wait_for_state(waiting, "WAITING")
        answer = gateway.ask(IMAGES, {"prompt": "x"})
        assert (answer.status, answer.error["type"]) == (429, "rate_limit_error")
        assert answer.headers["x-should-retry"] == "true"


def test_without_a_broker_the_answer_is_to_try_again(settings):
    with serving(settings, broker_url="amqp://guest:secret@127.0.0.1:9//", confirm_timeout_s=1) as gateway:
        answer = gateway.ask(IMAGES, {"prompt": "x"})
        assert (answer.status, answer.error["code"]) == (503, "unavailable")
        assert "secret" not in answer.body.decode()
