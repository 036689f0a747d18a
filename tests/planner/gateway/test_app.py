"""The app as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest
from gateway_server import serving
from source_tree import ROOT

PREFLIGHT = {"origin": "https://ui.example", "access_control_request_method": "POST"}


def test_pages_may_ask_only_where_that_is_set(settings):
    with serving(settings) as gateway:
        assert "access-control-allow-origin" not in gateway.ask("/health", origin="https://ui.example").headers
    with serving(settings, http_origins="https://ui.example, https://other.example") as gateway:
        answer = gateway.ask("/v1/images/generations", method="OPTIONS", **PREFLIGHT)
        assert answer.headers["access-control-allow-origin"] == "https://ui.example"
        assert gateway.ask("/v1/models", origin="https://ui.example").status == 200
        refused = gateway.ask(
            "/v1/images/generations", method="OPTIONS", **{**PREFLIGHT, "origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(("path", "method", "status"), [("/nope", "GET", 404), ("/v1/models", "POST", 405)])
def test_what_is_not_there_is_said_in_the_same_form(settings, path, method, status):
    with serving(settings) as gateway:
        answer = gateway.ask(path, method=method)
        assert (answer.status, answer.error["type"]) == (status, "invalid_request_error")


@pytest.mark.parametrize("module", ["planner", "planner.cli.main", "planner.cli.serve", "planner.cli.services"])
def test_nobody_else_loads_what_the_gateway_needs(module):
    script = f"import sys, {module}; sys.exit(bool(sys.modules.keys() & {{'starlette', 'uvicorn'}}))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
