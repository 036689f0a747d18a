"""How metrics are served, and that their labels stay few."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from broker_config.errors import ConfigurationError
from broker_config.metrics import OTHER, FewNames, serve_metrics
from broker_config.settings import Settings


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_they_are_served_at_the_port_of_the_settings(port):
    registry = CollectorRegistry()
    Counter("ladle_tests", "Of this test.", registry=registry).inc()
    serve_metrics(Settings(_env_file=None, metrics_port=port), registry)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as answer:
        text = answer.read().decode()
    assert "ladle_tests_total 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_without_a_port_nothing_is_served():
    registry = CollectorRegistry()
    serve_metrics(Settings(_env_file=None), registry)
    assert list(registry.collect()) == []


def test_a_port_that_is_taken_is_said_with_what_to_do(port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ConfigurationError, match=f"LADLE_METRICS_PORT={port}.*a port of its own"):
            serve_metrics(Settings(_env_file=None, metrics_port=port), CollectorRegistry())


def test_names_beyond_the_limit_share_one_label():
    few = FewNames(2)
    assert [few(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
