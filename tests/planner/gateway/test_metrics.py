"""The gateway's metrics: requests by route, and several processes that count together."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request

from gateway_server import serving
from prometheus_client.parser import text_string_to_metric_families

from broker_config.settings import environment
from planner.cli.processes import serve_command
from planner.gateway.metrics import shared_by_processes


def requests_in(text):
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {tuple(sorted(s.labels.items())): s.value for s in families["ladle_http_requests"].samples}


def labels(route, method, status):
    return tuple(sorted({"route": route, "method": method, "status": str(status)}.items()))


def test_requests_are_counted_by_route_method_and_status(settings):
    with serving(settings) as gateway:
        gateway.ask("/v1/models")
        gateway.ask("/v1/models")
        gateway.ask("/jobs/no-such-job-1")
        gateway.ask("/jobs/no-such-job-2")
        gateway.ask("/nope")
        counted = requests_in(gateway.ask("/metrics").body.decode())
    assert counted[labels("/v1/models", "GET", 200)] == 2
    assert counted[labels("none", "none", 404)] == 1
    assert not any("no-such-job" in value for key in counted for _, value in key)
    assert sum(value for key, value in counted.items() if ("route", "/jobs/{job}") in key) == 2


def test_metrics_need_a_key_where_everything_does(settings):
    with serving(settings, http_keys="always") as gateway:
        assert gateway.ask("/metrics").status == 401


def test_several_processes_count_together(settings, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = settings.with_changes(http_port=port, data_dir=tmp_path)
    variables = environment(settings) | shared_by_processes(settings, 2)
    server = subprocess.Popen([sys.executable, *serve_command(settings, 2)[1:]], env=variables)
    try:
        url = f"http://127.0.0.1:{port}"
        asked = 0
        give_up = time.monotonic() + 60.0
        while asked < 20:  # each by a new connection, so that both processes answer some
            try:
                urllib.request.urlopen(f"{url}/health", timeout=10.0).close()
                asked += 1
            except OSError:
                assert time.monotonic() < give_up
                time.sleep(0.2)
        with urllib.request.urlopen(f"{url}/metrics", timeout=10.0) as answer:
            counted = requests_in(answer.read().decode())
        assert counted[labels("/health", "GET", 200)] == 20
    finally:
        server.terminate()
        server.wait(30.0)
