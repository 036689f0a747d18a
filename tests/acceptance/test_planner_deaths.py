"""A planner that dies at the worst moments of a placement (rows 7 to 9 of docs/faults.md)."""

from __future__ import annotations

import signal
import time

import pytest
from ladle_site import PATIENCE_S, wait_until

JOB = {"prompt": "x", "num_inference_steps": 250}  # 1 s


@pytest.fixture
def site(make_site, own_broker_url):
    """A node that is ready, and no planner."""
    site = make_site(broker_url=own_broker_url, node_timeout_s=60)
    site.start("a")
    site.wait_for_node("a", "READY")
    site.running["planner"].kill()
    return site


def submit_and_let_the_planner_die(site, client, moment):
    """Return the handle of the job at which it dies."""
    doomed = site.start_doomed_planner(moment)
    handle = client.submit(**JOB)
    assert doomed.wait() == -signal.SIGKILL
    return handle


def attempts(site, job):
    return [(attempt["number"], attempt["state"], attempt["result"]) for attempt in site.attempts(job)]


@pytest.mark.fault(7)
def test_killed_before_the_commit_of_a_submit_the_message_comes_again_and_makes_one_job(site):
    with site.client() as client:
        handle = submit_and_let_the_planner_die(site, client, "before-commit")
        assert site.rows(handle.job) == []
        site.start_planner()
        handle.result(PATIENCE_S)
    assert attempts(site, handle.job) == [(1, "CLOSED", "done")]
    assert len(site.images()) == 1


@pytest.mark.fault(8)
def test_killed_between_commit_and_publish_the_same_attempt_is_published_after_the_restart(site):
    with site.client() as client:
        handle = submit_and_let_the_planner_die(site, client, "after-commit")
        assert site.state(handle.job) == "PLACED"
        assert attempts(site, handle.job) == [(1, "WRITTEN", None)]
        assert f"{handle.job}/1" not in site.running["a"].log
        site.start_planner()
        handle.result(PATIENCE_S)
    assert attempts(site, handle.job) == [(1, "CLOSED", "done")]


@pytest.mark.fault(9)
def test_killed_after_the_publish_and_before_the_mark_the_worker_recognises_the_second_message(site):
    worker = site.running["a"]
    with site.client() as client:
        # Given a node that has the message of an attempt which the ledger does not know as published
        handle = submit_and_let_the_planner_die(site, client, "after-publish")
        wait_until(lambda: f"[{handle.job}/1] received" in worker.log, "the message is with the node")
        assert attempts(site, handle.job) == [(1, "WRITTEN", None)]
        # When a planner starts and publishes it again, before the node has answered
        worker.freeze()
        site.start_planner()
        wait_until(lambda: attempts(site, handle.job) == [(1, "PUBLISHED", None)], "published again")
        worker.thaw()
        # Then the worker draws once, and answers twice
        handle.result(PATIENCE_S)
        wait_until(lambda: f"job {handle.job} attempt 1 was done here before" in worker.log, "the second message")
    assert attempts(site, handle.job) == [(1, "CLOSED", "done")]
    assert len(site.images()) == 1


def test_stuck_in_a_turn_it_ends_within_its_grace_time_and_another_planner_does_the_job(site):
    with site.client() as client:
        stuck = site.start_doomed_planner("stuck", grace_s=2.0)
        handle = client.submit(**JOB)
        wait_until(lambda: "computing for ever" in stuck.log, "a turn without end")
        stuck.process.send_signal(signal.SIGTERM)
        assert stuck.process.wait(timeout=PATIENCE_S) == 1
        site.start_planner()
        handle.result(PATIENCE_S)
    assert attempts(site, handle.job) == [(1, "CLOSED", "done")]


@pytest.mark.fault(43)
def test_stopped_for_longer_than_the_nodes_timeout_it_loses_no_node_and_no_attempt(make_site, own_broker_url):
    # Given a node that draws, and reports four times a second
    site = make_site(broker_url=own_broker_url, node_timeout_s=2.0)
    site.start("a")
    site.wait_for_node("a", "READY")
    planner = site.running["planner"]
    with site.client() as client:
        handle = client.submit(prompt="x", num_inference_steps=500, size="128x128")  # 8 s
        wait_until(lambda: site.state(handle.job) == "RUNNING", "the job is begun")
        # When the planner is stopped for three timeouts
        planner.freeze()
        time.sleep(3 * site.settings.node_timeout_s)
        planner.thaw()
        # Then it says so, and the job is done at its first attempt
        handle.result(PATIENCE_S)
    assert "did not run for" in planner.log
    assert "is gone" not in planner.log
    assert attempts(site, handle.job) == [(1, "CLOSED", "done")]
