"""What who watches a fleet gets from its real processes: metrics, JSON logs, Celery's task events."""

from __future__ import annotations

import json
import threading
import urllib.request

import pytest
from ladle_site import Site, free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families
from span_collector import collecting_spans

from broker_config.app import make_app


@pytest.fixture
def watched(tmp_path, own_broker_url):
    """A planner and node a, which are watched in every way."""
    site = Site(tmp_path, broker_url=own_broker_url, log_format="json", task_events=True)
    yield site
    site.stop()


def metrics_at(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_a_job_is_seen_in_metrics_in_json_logs_and_by_who_listens_to_celery(watched):
    # Given processes that are watched
    ports = {"planner": free_port(), "a": free_port()}
    planner = watched.start_planner(metrics_port=ports["planner"])
    worker = watched.start_worker("a", metrics_port=ports["a"])
    watched.wait_for_node("a", "READY")
    heard = []
    app = make_app("watcher", watched.settings, queues=[], include=[])
    connection = app.connection_for_read()
    receiver = app.events.Receiver(connection, handlers={"*": heard.append})
    listener = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
    listener.start()
    wait_until(lambda: heard, "the first heartbeat")
    # When a job is drawn
    with watched.client() as client:
        job = client.submit(prompt="a red heart", num_inference_steps=3)
        job.result()
    # Then planner and worker have counted it
    seen = metrics_at(ports["planner"])
    assert seen["ladle_jobs_finished_total", ("model", "tiny"), ("state", "DONE")] == 1
    assert seen["ladle_node_state", ("node", "a"), ("state", "READY")] == 1
    assert metrics_at(ports["a"])["ladle_worker_images_total",] == 1
    # And the line of the job has its figures as fields
    wait_until(lambda: f"job {job.job} DONE" in planner.log, "the job's line")
    lines = [json.loads(line) for line in planner.log.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("job") == job.job]
    assert (line["state"], line["node"], line["model"]) == ("DONE", "a", "tiny")
    assert line["generation_s"] > 0.0
    assert any(json.loads(line)["level"] == "INFO" for line in worker.log.splitlines() if line.startswith("{"))
    # And Celery's events say which node drew it
    wait_until(lambda: any(event["type"] == "task-succeeded" for event in heard), "the task's events")
    receiver.should_stop = True
    listener.join()
    connection.release()
    events = [event for event in heard if event.get("uuid") == f"{job.job}/1"]
    assert {"task-started", "task-succeeded"} <= {event["type"] for event in events}
    assert all(event["hostname"].startswith("a@") for event in events)


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_a_job_is_one_trace_from_its_http_request_to_its_end(tmp_path, own_broker_url, monkeypatch):
    # Given processes that export their spans
    with collecting_spans() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # ms
        site = Site(tmp_path, broker_url=own_broker_url, traces=True)
        try:
            site.start("a")
            site.start_gateway()
            site.wait_for_node("a", "READY")
            # When an image is asked for by a program that is traced, too
            request = urllib.request.Request(
                f"http://127.0.0.1:{site.settings.http_port}/v1/images/generations",
                json.dumps({"prompt": "a red heart", "num_inference_steps": 3}).encode(),
                {"content-type": "application/json", "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"},
            )
            with urllib.request.urlopen(request, timeout=60.0) as answer:
                assert answer.status == 200
            wanted = {
                ("ladle-gateway", "POST /v1/images/generations"),
                ("ladle-gateway", "create planner"),
                ("ladle-planner", "wait"),
                ("ladle-worker", "process node.a"),
                ("ladle-worker", "load"),
                ("ladle-worker", "draw"),
                ("ladle-worker", "send images"),
                ("ladle-planner", "transfer out"),
                ("ladle-planner", "end"),
            }

            def seen():
                return {(service, span.name) for service, span in collector.of_trace(TRACE_ID)}

            # Then the job is in its trace, process for process
            wait_until(lambda: wanted <= seen(), f"the spans {wanted}")
        finally:
            site.stop()
    spans = {span.name: span for _, span in collector.of_trace(TRACE_ID)}
    above = {name: spans[name].parent_span_id for name in ("wait", "process node.a", "end", "transfer out")}
    assert set(above.values()) == {spans["create planner"].span_id}
    assert spans["draw"].parent_span_id == spans["process node.a"].span_id
    assert [event.name for event in spans["draw"].events] == ["image steps"]
    assert spans["wait"].end_time_unix_nano <= spans["end"].end_time_unix_nano
