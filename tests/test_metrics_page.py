"""Every metric that the code exports is on docs/metrics.md, and dashboard and alerts ask for no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml
from planner_world import World
from prometheus_client import CollectorRegistry
from source_tree import ROOT

from broker_config.messages import NodeReport
from planner.gateway.metrics import RequestMetrics
from planner.metrics import PlannerCounts, PlannerPicture
from workers.metrics import WorkerCounts, WorkerPicture

DOCS = ROOT / "docs"
ALERTS = DOCS / "monitoring" / "alerts.yaml"
DASHBOARD = DOCS / "monitoring" / "grafana-dashboard.json"
NAME = re.compile(r"\bladle_[a-z_]+")
OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def exported():
    """The type of each metric by the name under which Prometheus knows it."""
    registry, world = CollectorRegistry(), World()
    PlannerCounts(registry)
    registry.register(PlannerPicture(world.planner))
    RequestMetrics(None, registry)
    WorkerCounts(registry)
    report = NodeReport(node="a", instance="i", hostname="h", state="ready", interval_s=2.0)
    registry.register(WorkerPicture(lambda: report))
    world.up("a")
    found = {f.name + ("_total" if f.type == "counter" else ""): f.type for f in registry.collect()}
    world.close()
    return found


def base(name):
    for suffix in OF_A_HISTOGRAM:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def test_the_page_has_each_metric_once_with_its_type(exported):
    page = (DOCS / "metrics.md").read_text()
    rows = re.findall(r"^\| `(ladle_[a-z_]+)(?:\{[^}]*\})?` \| (\w+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(exported.items())


def test_dashboard_and_alerts_ask_for_what_is_exported(exported):
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    names = {base(name) for text in [*asked, *(rule["expr"] for rule in rules)] for name in NAME.findall(text)}
    assert names
    assert names - exported.keys() == set()


def test_names_keep_the_rules_of_prometheus(exported):
    for name, kind in exported.items():
        assert name.startswith("ladle_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|millis|minutes|mib|kb)(_|$)", name), f"{name}: base units"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_alert_rules():
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
