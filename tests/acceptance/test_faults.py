"""Processes and brokers that die, on real processes: what docs/faults.md promises of each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest
from ladle_site import PATIENCE_S, Site, wait_until

from broker_config.rabbitmq.private import NEW_QUEUE_S
from planner.cli.processes import planner_command, worker_command

MEDIUM = {"prompt": "x", "num_inference_steps": 250}  # 1 s


def wait_until_it_runs_on(site, name, jobs):
    wait_until(
        lambda: any(row["state"] == "RUNNING" and row["node"] == name for row in site.rows(*jobs)),
        f"a job runs on {name}",
    )
    return next(row["id"] for row in site.rows(*jobs) if row["state"] == "RUNNING" and row["node"] == name)


def has_one_outcome(site, job):
    results = [attempt["result"] for attempt in site.attempts(job)]
    return results.count("done") == 1 and None not in results


@pytest.mark.fault(1)
def test_a_worker_killed_in_mid_generation_loses_no_job(site):
    with site.client() as client:
        handles = client.submit_many([MEDIUM] * 4)
        jobs = [handle.job for handle in handles]
        wait_until_it_runs_on(site, "a", jobs)
        site.running["a"].kill()
        results = [handle.result(PATIENCE_S) for handle in handles]
    assert all(has_one_outcome(site, job) for job in jobs)
    assert {len(result.images) for result in results} == {1}


@pytest.mark.fault(1)
def test_a_worker_killed_and_started_again_draws_its_job_again(site):
    with site.client() as client:
        handles = client.submit_many([MEDIUM] * 2)
        jobs = [handle.job for handle in handles]
        wait_until_it_runs_on(site, "a", jobs)
        site.running["a"].kill()
        site.start_worker("a")
        for handle in handles:
            handle.result(PATIENCE_S)
    assert all(has_one_outcome(site, job) for job in jobs)


@pytest.mark.fault(3)
def test_a_worker_told_to_stop_finishes_its_job_and_takes_no_other(site):
    with site.client() as client:
        handles = client.submit_many([MEDIUM] * 6)
        jobs = [handle.job for handle in handles]
        running = wait_until_it_runs_on(site, "a", jobs)
        received = site.running["a"].log.count(" received")
        site.running["a"].terminate()
        assert site.running["a"].wait() == 0
        results = {handle.job: handle.result(PATIENCE_S) for handle in handles}
    assert results[running].node == "a"
    assert results[running].attempts == 1
    assert all(has_one_outcome(site, job) for job in jobs)
    assert "Traceback" not in site.running["a"].log
    assert site.running["a"].log.count(" received") == received
    site.start_worker("a")
    with site.client() as client:  # nothing of it was left in its queue
        for handle in client.submit_many([MEDIUM] * 2):
            handle.result(PATIENCE_S)
    assert "was done here before" not in site.running["a"].log
    assert site.running["a"].log.count(" received") <= 2


@pytest.mark.fault(3)
def test_a_worker_whose_grace_ends_gives_its_job_back(site):
    site.running["a"].terminate()
    site.running["a"].wait()
    site.start_worker("a", grace_s=0.2)
    site.wait_for_node("a", "READY")
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x", "num_inference_steps": 400}] * 2)
        jobs = [handle.job for handle in handles]
        given_back = wait_until_it_runs_on(site, "a", jobs)
        site.running["a"].terminate()
        assert site.running["a"].wait() == 0
        for handle in handles:
            assert handle.result(PATIENCE_S).node == "b"
    assert [attempt["result"] for attempt in site.attempts(given_back)] == ["returned", "done"]


def test_a_planner_killed_with_open_jobs_goes_on_after_its_restart(site):
    with site.client() as client:
        handles = client.submit_many([MEDIUM] * 8)
        wait_until(lambda: site.state(handles[-1].job) is not None, "all accepted")
        site.running["planner"].kill()
        late = client.submit(prompt="while no planner runs")
        site.start_planner()
        results = [handle.result(PATIENCE_S) for handle in [*handles, late]]
    assert all(has_one_outcome(site, result.job) for result in results)


@pytest.mark.fault(22)
def test_with_no_node_left_jobs_wait_and_say_why_and_finish_when_one_returns(site):
    for name in ("a", "b"):
        site.running[name].kill()
    for name in ("a", "b"):
        site.wait_for_node(name, "GONE")
    with site.client() as client:
        handles = client.submit_many([{"prompt": "x"}] * 5)
        status = handles[0].status()
        assert status.state == "WAITING"
        assert "no node is ready" in status.reason
        site.start_worker("b")
        assert {handle.result(PATIENCE_S).node for handle in handles} == {"b"}


@pytest.mark.fault(26)
def test_a_second_worker_of_a_name_refuses_to_start_and_says_so(site):
    second = Site(site.folder, broker_url=site.settings.broker_url)._spawn("a-second", worker_command("a"), {})
    try:
        assert second.wait() != 0
    finally:
        second.process.kill()
    assert "another worker serves node 'a'" in second.log
    assert "Traceback" not in second.log
    with site.client() as client:
        assert client.submit(prompt="x").result(PATIENCE_S)


def test_a_worker_killed_alone_on_its_broker_can_start_again_at_once(make_site):
    site = make_site()
    site.start_worker("a").kill()
    site.start_worker("a")


@pytest.mark.fault(32, "B")
def test_a_worker_without_its_model_says_so_and_takes_no_jobs(make_site):
    site = make_site()
    site.start("a")
    site.start_worker("b", engine="diffusers", models="/no/such/model", only_these_models=True)
    site.wait_for_node("b", "UNFIT")
    with site.client() as client:
        assert {handle.result(PATIENCE_S).node for handle in client.submit_many([{"prompt": "x"}] * 4)} == {"a"}
    assert "/no/such/model" in site.running["b"].log


@pytest.mark.fault(4, "R")
@pytest.mark.rabbitmq
def test_a_broker_killed_under_load_loses_no_await(make_site, private_rabbitmq, postgresql_url):
    site = make_site(broker_url=private_rabbitmq.url, database_url=postgresql_url, node_timeout_s=10)
    site.start("a", "b")
    time.sleep(NEW_QUEUE_S)

    async def run():
        async with site.async_client() as client:
            requests = [{"prompt": "x", "num_inference_steps": 25, "seed": seed} for seed in range(60)]
            handles = await client.submit_many(requests)
            waiting = [asyncio.ensure_future(handle.result(PATIENCE_S)) for handle in handles]
            await waiting[5]
            await asyncio.to_thread(private_rabbitmq.kill)
            await asyncio.to_thread(private_rabbitmq.start)
            return await asyncio.gather(*waiting)

    results = asyncio.run(run())
    assert [result.images[0].seed for result in results] == list(range(60))
    assert all(has_one_outcome(site, result.job) for result in results)
    with site.client() as client:
        assert client.submit(prompt="after").result(PATIENCE_S)


@pytest.mark.parametrize(
    ("variables", "command", "sentence"),
    [
        (
            {"LADLE_BROKER_URL": "amqp://guest:secret@127.0.0.1:9//"},
            ["-c", "from planner.cli import main; main()", "submit", "a red heart"],
            "amqp://guest:",
        ),
        ({"LADLE_WINDOW": "0"}, planner_command()[1:], "LADLE_WINDOW"),
        ({"LADLE_WINDOW": "0"}, worker_command("a")[1:], "LADLE_WINDOW"),
        ({"LADLE_STORE_URL": "nosuch://x"}, planner_command()[1:], "LADLE_STORE_URL"),
        (
            {"LADLE_DATABASE_URL": "postgresql://ladle:secret@127.0.0.1:9/ladle"},
            planner_command()[1:],
            "postgresql+psycopg://ladle:***@127.0.0.1:9/ladle",
        ),
        ({"LADLE_DATABASE_URL": "postgresql://ladle:se/cret@h:x/ladle"}, planner_command()[1:], "LADLE_DATABASE_URL"),
        ({}, [*worker_command("a")[1:-2], "-Q", "celery"], "-Q node.<name>"),
    ],
)
def test_what_cannot_start_says_why_in_one_sentence(variables, command, sentence, tmp_path):
    done = subprocess.run(
        [sys.executable, *command],
        env={
            **os.environ,
            "LADLE_DATA_DIR": str(tmp_path),
            "LADLE_ENGINE": "emulated",
            "PYTHONWARNINGS": "ignore",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert sentence in said
    assert "Traceback" not in said
    assert "secret" not in said
    assert "se/cret" not in said
    assert len(said.strip().splitlines()) == 1, said
