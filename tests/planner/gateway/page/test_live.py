"""The stream of an open page."""

from __future__ import annotations

import contextlib
import json
import urllib.request

import pytest
from gateway_server import serving
from ladle_site import PATIENCE_S

from broker_config.messages import Event, EventKind, StoredImage
from planner.gateway.keys import key_file
from planner.gateway.page.live import told

LONG = {"prompt": "a long one", "size": "512x512", "num_inference_steps": 60}


class Stream:
    """What comes of a stream, event by event."""

    def __init__(self, answer):
        self._lines = answer

    def __iter__(self):
        kind = None
        for raw in self._lines:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))

    def until(self, wanted, condition=lambda _: True):
        return next(data for kind, data in self if kind == wanted and condition(data))


@contextlib.contextmanager
def listening(gateway, **headers):
    request = urllib.request.Request(f"{gateway.url}/page/live", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        yield Stream(answer)


def test_it_begins_with_the_time_and_every_panel(gateway):
    with listening(gateway) as stream:
        kinds = set()
        for kind, _ in stream:
            kinds.add(kind)
            if kinds >= {"now", "queue", "nodes", "policy", "dead"}:
                break


def test_a_job_is_told_from_its_place_to_its_end(gateway, site):
    with listening(gateway) as stream:
        stream.until("nodes")
        job = gateway.ask("/jobs", LONG).json["job"]
        queue = stream.until("queue", lambda view: job in {one["job"] for one in view["jobs"]})
        assert queue["planner_runs"]
        step = stream.until("job", lambda told: told["job"] == job and told.get("step"))
        assert (step["node"], step["image_steps"]) == ("a", 60)
        done = stream.until("job", lambda told: told["job"] == job and told["kind"] == "done")
        assert len(done["seeds"]) == 1
        bars = stream.until("timeline", lambda news: (news["bars"].get(f"{job}/1") or {}).get("result"))["bars"]
        assert bars[f"{job}/1"]["prompt"] == "a long one"


def test_how_long_it_may_take_is_told_with_both_quantiles(gateway, site):
    with listening(gateway) as stream:
        job = gateway.ask("/jobs", LONG).json["job"]
        told_ = stream.until("job", lambda told: told["job"] == job and "eta_p50_s" in told)
        assert 0.0 <= told_["eta_p50_s"] <= told_["eta_p90_s"]
        gateway.ask(f"/jobs/{job}", method="DELETE")
        stream.until("job", lambda told: told["job"] == job and told["kind"] == "cancelled")


def test_without_a_ledger_each_panel_says_so(settings):
    with serving(settings) as gateway, listening(gateway) as stream:
        for panel in ("queue", "nodes", "policy", "dead", "timeline"):
            assert "LADLE_DATABASE_URL" in stream.until(panel)["lack"]


def test_nobody_hears_of_the_jobs_of_others(site):
    named = {"http_keys_file": str(site.folder / "live-keys.json")}
    keys = key_file(site.settings.with_changes(**named))
    ann, bob = keys.add("ann"), keys.add("bob")
    with serving(site.settings, **named) as gateway:
        with listening(gateway, authorization=f"Bearer {ann}") as stream:
            job = gateway.ask("/jobs", LONG, authorization=f"Bearer {bob}").json["job"]
            seen = []
            for kind, data in stream:
                seen.append(json.dumps(data))
                if kind == "queue" and sum(data["others"].values()):
                    break
            assert not any(job in text or LONG["prompt"] in text for text in seen)
        gateway.ask(f"/jobs/{job}", authorization=f"Bearer {bob}", method="DELETE")


def test_it_needs_a_key_where_there_are_keys(settings):
    key_file(settings).add("ann")
    with serving(settings) as gateway:
        assert gateway.ask("/page/live").status == 401


@pytest.mark.parametrize("images", [(), (StoredImage.inline(b"\x89PNG", 5),)], ids=["none", "one"])
def test_of_images_only_the_seeds_are_told(images):
    shown = told(Event(job="j", kind=EventKind.DONE, images=images))
    assert shown.get("seeds", []) == [image.seed for image in images]
    assert "images" not in shown
