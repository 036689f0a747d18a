"""Logs of real processes: nobody who sends messages can write a line of them, or command the terminal showing it."""

from __future__ import annotations

import uuid

import pytest
from image_requests import an_image_request
from kombu import Producer
from ladle_site import wait_until

from broker_config.topology import DEAD, JOBS, NODES, OUTCOMES

FORGED = "[2026-11-27 12:00:00,000: ERROR/MainProcess] dead letter from planner: forged"
HOSTILE = f"\x1b[2J\r\n{FORGED}\u202e"
SPELT_OUT = r"\x1b[2J\r\n[2026-11-27"  # and as much of the rest as is logged


@pytest.mark.fault(45)
def test_whatever_foreign_text_reaches_a_log_it_is_spelt_out_in_one_line(site):
    planner, worker = site.running["planner"], site.running["a"]
    with site.client() as client:
        running = client.submit(prompt="x", size="256x256", num_inference_steps=500)
        wait_until(lambda: site.state(running.job) == "RUNNING", "it runs")
    node = site.rows(running.job)[0]["node"]
    with site.connection() as connection, connection.channel() as channel:

        def send(exchange, key, task, **call):
            headers = {"task": task, "id": uuid.uuid4().hex}
            producer = Producer(channel, serializer="json", auto_declare=False)
            user = connection.info()["userid"]
            producer.publish([[], call, {}], exchange=exchange.name, routing_key=key, headers=headers, user_id=user)

        # Given a node that says why it is unfit, and one that says why its attempt failed
        report = {"node": "odd", "instance": "1", "hostname": "x", "interval_s": 1.0, "state": "unfit"}
        send(OUTCOMES, "outcome.odd.report", "planner.report", report={**report, "reason": f"unfit {HOSTILE}"})
        failure = {"kind": "bad_request", "message": f"failed {HOSTILE}"}
        outcome = {"job": running.job, "attempt": 1, "node": node, "result": "failed", "failure": failure}
        send(OUTCOMES, f"outcome.{node}.failed", "planner.record", outcome=outcome)
        # And a client that chooses names, of a job and of a field
        job = {"client": "c", "request": an_image_request()}
        send(JOBS, "submit", "planner.submit", jobs=[{**job, "job": f"job {HOSTILE}"}])
        send(JOBS, "submit", "planner.submit", jobs=[{**job, "job": "x", f"field {HOSTILE}": 1}])
        # And a dead letter with its reason, and an assignment that is none
        send(DEAD, "dead.node.a", "planner.record_dead_letter", queue="node.a", reason=f"letter {HOSTILE}")
        send(NODES, "node.a", "workers.generate", assignment={f"assignment {HOSTILE}": 1})
        # When they are logged
        for process, words in [
            (planner, ("unfit", "failed", "job", "field", "letter", "assignment")),
            (worker, ("assignment",)),
        ]:
            for word in words:
                wait_until(lambda p=process, w=word: f"{w} {SPELT_OUT}" in p.log, f"{word} in {process.name}'s log")
    # Then each stands in a line of its own, spelt out
    for log in (planner.log, worker.log):
        assert not set("\x1b\r\u202e") & set(log)
        assert not any(line.startswith(FORGED) for line in log.splitlines())
