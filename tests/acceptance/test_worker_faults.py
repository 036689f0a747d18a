"""Workers that die again and again, answer too late or become slow, and clients that die (docs/faults.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest
from ladle_site import PATIENCE_S, wait_until
from safetensors.numpy import load_file, save_file

from broker_config.messages import TERMINAL_STATES
from broker_config.settings import environment
from broker_config.topology import control_queue
from planner.errors import JobFailedError
from workers.model_source import TINY_FOLDER

MEDIUM = {"prompt": "x", "num_inference_steps": 250}  # 1 s


def results(site, job):
    return [attempt["result"] for attempt in site.attempts(job)]


@pytest.mark.fault(2)
def test_a_job_that_kills_its_worker_each_time_is_given_up_with_the_reason_and_the_node_lives(
    make_site, own_broker_url
):
    # Given a node that dies whenever it draws this job: kill -9 is what the kernel does when memory is out
    site = make_site(broker_url=own_broker_url, max_attempts=1, node_timeout_s=120)
    site.start("a")
    site.wait_for_node("a", "READY")
    kills = 0
    with site.client() as client:
        handle = client.submit(**MEDIUM)
        while site.state(handle.job) not in TERMINAL_STATES:
            if site.state(handle.job) == "RUNNING" and f"[{handle.job}/" in site.running["a"].log:
                site.running["a"].kill()
                kills += 1
                site.start_worker("a")
            time.sleep(0.02)
        # Then it was tried to the limit, dead-lettered, and FAILED with the reason
        with pytest.raises(JobFailedError, match=r"gave up after 1 attempts: worker_died on a: delivery_limit"):
            handle.result(PATIENCE_S)
        assert kills == 1 + site.settings.delivery_limit
        (attempt,) = site.attempts(handle.job)
        assert (attempt["result"], attempt["failure"]["kind"]) == ("failed", "worker_died")
        assert [letter["reason"] for letter in site.dead_letters()] == ["delivery_limit in queue 'node.a'"]
        assert site.images() == []
        # And the node draws the next job
        assert client.submit(**MEDIUM).result(PATIENCE_S).node == "a"


@pytest.mark.fault(11)
def test_the_late_result_of_a_replaced_attempt_is_fenced(site):
    planner = site.running["planner"]
    with site.client() as client:
        # Given a worker that freezes while it draws, and a control message that is lost
        handle = client.submit(prompt="x", num_inference_steps=500)
        wait_until(lambda: site.state(handle.job) == "RUNNING", "it runs")
        late = site.running[site.rows(handle.job)[0]["node"]]
        unbind_control(site, late.name)
        late.freeze()
        # When another node has drawn the job, and the first one goes on
        result = handle.result(PATIENCE_S)
        late.thaw()
        # Then its late result is refused, logged, and nothing of it kept
        refusal = f"fenced: late result of job {handle.job} attempt 1 from {late.name}"
        wait_until(lambda: refusal in planner.log, "the late result")
        again = client.handle(handle.job).result(PATIENCE_S)
    assert result.node != late.name
    assert results(site, handle.job) == ["lost", "done"]
    assert again.images[0].png == result.images[0].png
    assert len(list((site.folder / "images" / handle.job).iterdir())) == 1
    late.kill()  # the next one of its name binds its control queue again


def unbind_control(site, node):
    """From now on nobody can tell `node` to drop an attempt."""
    with site.connection() as connection, connection.channel() as channel:
        queue = control_queue(node)(channel)
        queue.unbind_from(queue.exchange, queue.routing_key)


AWAITING_CLIENT = """
import sys
from planner import Client

with Client() as client:
    handle = client.submit(prompt="x", num_inference_steps=250, idempotency_key=sys.argv[1])
    print("submitted", flush=True)
    handle.result()
    print("too late", flush=True)
"""


@pytest.mark.fault(30)
def test_a_job_whose_client_was_killed_is_found_by_its_key(site):
    key = f"order-{uuid.uuid4().hex}"
    with subprocess.Popen(
        [sys.executable, "-c", AWAITING_CLIENT, key],
        env={**os.environ, **environment(site.settings)},
        stdout=subprocess.PIPE,
        text=True,
    ) as killed:
        assert killed.stdout.readline() == "submitted\n"
        killed.kill()
        assert killed.stdout.read() == ""
    with site.client() as client:
        again = client.submit(**MEDIUM, idempotency_key=key).result(PATIENCE_S)
    assert again.job == key
    assert results(site, key) == ["done"]
    assert len(list((site.folder / "images" / key).iterdir())) == 1


@pytest.mark.fault(23, "B")
def test_a_node_that_becomes_ten_times_slower_is_known_within_a_few_jobs_and_loses_its_work(make_site):
    # Given two equal emulated nodes, one of which slows down to a tenth a few seconds after its warm-up
    site = make_site(placer="earliest-completion", emulated_load_s=0, window=1)
    site.start("b")
    site.start_worker("a", emulated_drift="8:10")
    slow_from = time.monotonic() + 8
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    with site.client() as client:
        before = s_per_unit(site, "a")
        time.sleep(max(slow_from - time.monotonic(), 0.0))
        # When both work
        for handle in client.submit_many([{"prompt": "x", "num_inference_steps": 100}] * 16):
            handle.result(PATIENCE_S)
        # Then a handful of results was enough to know it, and most of what comes goes to the other one
        drawn = sum(row["node"] == "a" for row in recent(site, 16))
        assert 1 <= drawn <= 8
        assert s_per_unit(site, "a") > 3 * before
        for handle in client.submit_many([{"prompt": "x", "num_inference_steps": 100}] * 8):
            handle.result(PATIENCE_S)
    assert sum(row["node"] == "a" for row in recent(site, 8)) <= 2


@pytest.mark.fault(44)
def test_a_node_that_boasts_of_its_speed_is_found_out_by_the_clock_and_gets_no_more_work(make_site, own_broker_url):
    # Given a node that takes 3 s and says 0.3 s, from its warm-up on, and one that takes 1 s
    site = make_site(broker_url=own_broker_url, placer="earliest-completion", window=1, node_timeout_s=60)
    site.start("b", emulated_s_per_unit=0.5)
    site.start_boastful_worker("a", emulated_s_per_unit=1.5)
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    with site.client() as client:
        nodes = [client.submit(prompt="x", num_inference_steps=500).result(PATIENCE_S).node for _ in range(14)]
    # Then its first jobs show it, it is said so, and what comes later goes to the other one
    assert nodes[:2] == ["a", "a"]
    assert nodes[-4:] == ["b"] * 4
    assert "times as long as it reports" in note_of(site, "a")
    assert "its jobs take" in site.running["planner"].log


@pytest.mark.fault(49)
def test_a_fast_node_with_another_store_is_known_at_once_and_soon_gets_no_more(make_site, own_broker_url, tmp_path):
    # Given a node that is ten times as fast as the other one, and leaves its images where the planner has nothing
    site = make_site(broker_url=own_broker_url, placer="earliest-completion", window=1, node_timeout_s=60)
    site.start("b")
    site.start_worker("a", emulated_s_per_unit=0.1, store_url=f"file://{tmp_path}/elsewhere", message_limit_mib=1e-6)
    for name in ("a", "b"):
        site.wait_for_node(name, "READY")
    assert "its LADLE_STORE_URL is not the planner's store" in note_of(site, "a")
    # When jobs come
    with site.client() as client:
        handles = client.submit_many([MEDIUM] * 16)
        assert {handle.result(PATIENCE_S).node for handle in handles} == {"b"}
    # Then a few have shown it, and were not given up for that
    assert 3 <= sum(len(results(site, handle.job)) - 1 for handle in handles) <= 6
    assert {row["failures"] for row in site.rows(*(handle.job for handle in handles))} == {0}
    assert "no jobs of tiny until a trial succeeds" in note_of(site, "a")


@pytest.mark.fault(50)
def test_a_node_with_another_model_of_the_name_draws_no_job_of_it(make_site, own_broker_url, tmp_path):
    # Given three nodes whose folder `drawer` holds the small model, trained on a little at one of them
    site = make_site(broker_url=own_broker_url, placer="round-robin", node_timeout_s=60)
    site.start()
    for name in ("a", "b", "c"):
        folder = shutil.copytree(TINY_FOLDER, tmp_path / name / "drawer")
        if name == "c":
            train_a_little(folder / "transformer" / "diffusion_pytorch_model.safetensors")
        site.start_worker_in(tmp_path / name, name, engine="diffusers", models="drawer")
        site.wait_for_node(name, "READY")
    wait_until(lambda: "not those that most nodes have" in site.running["planner"].log, "the planner's word")
    # When many jobs of it come, each node in turn
    with site.client() as client:
        asked = [{"prompt": "a red circle", "model": "drawer", "num_inference_steps": 1, "seed": 1}] * 6
        done = [handle.result(PATIENCE_S) for handle in client.submit_many(asked)]
    # Then those with the usual model draw them all, and all draw the same
    assert {result.node for result in done} == {"a", "b"}
    assert len({result.images[0].png for result in done}) == 1
    assert note_of(site, "c") == "its files of drawer are not those that most nodes have: it gets no such jobs"
    assert note_of(site, "a") == note_of(site, "b") == ""


def train_a_little(weights):
    save_file({name: tensor * 1.01 for name, tensor in load_file(weights).items()}, weights)


def note_of(site, node):
    with site.ledger.transaction() as connection:
        return next(row["reason"] for row in site.ledger.nodes(connection) if row["name"] == node)


def s_per_unit(site, node):
    with site.ledger.transaction() as connection:
        return site.ledger.estimates(connection).of(node, "tiny").s_per_unit.median


def recent(site, count):
    with site.ledger.transaction() as connection:
        return site.ledger.recent_jobs(connection, count)


@pytest.mark.fault(51)
def test_jobs_with_an_adapter_are_drawn_where_it_is_and_wait_while_that_node_is_gone(
    make_site, own_broker_url, tmp_path
):
    # Given three nodes, one of which has the adapter
    (tmp_path / "has").mkdir()
    (tmp_path / "has" / "sketch.safetensors").write_bytes(b"")
    site = make_site(broker_url=own_broker_url, placer="round-robin")
    site.start("n1", "n2", adapters_folder=str(tmp_path))
    site.start_worker("n5", adapters_folder=str(tmp_path / "has"))
    for name in ("n1", "n2", "n5"):
        site.wait_for_node(name, "READY")
    with site.client() as client:
        # Then each job with the adapter is drawn there, at its first attempt
        handles = [client.submit(prompt="x", adapters={"sketch": 0.5}) for _ in range(20)]
        results = [handle.result(PATIENCE_S) for handle in handles]
        assert {(result.node, result.attempts) for result in results} == {("n5", 1)}
        # And while the node is gone, a job waits and its client knows for what
        site.running["n5"].kill()
        site.wait_for_node("n5", "GONE")
        handle = client.submit(prompt="x", adapters={"sketch": 0.5})
        accepted = next(handle.events())
        assert "adapter 'sketch' is on no node that is up; n5 had it, gone since" in accepted.warnings[0]
        site.start_worker("n5", adapters_folder=str(tmp_path / "has"))
        assert handle.result(PATIENCE_S).node == "n5"
