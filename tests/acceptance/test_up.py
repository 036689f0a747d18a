"""`ladle up` as a person starts it: everything on one machine, retraining included, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import psutil
import pytest
from ladle_site import PATIENCE_S, free_port, wait_until

from broker_config.settings import Settings, environment

LADLE = [sys.executable, "-c", "from planner.cli import main; main()"]
STOPPED_WITHIN_S = 60.0


@pytest.fixture
def ladle_up(tmp_path):
    """Start `ladle up` with one emulated node and these options; it ends with the test."""
    settings = Settings(
        _env_file=None, data_dir=tmp_path, engine="emulated", placer="lad-ts", grace_s=1, http_port=free_port()
    )
    started = []

    def start(*options, **changes):
        with (tmp_path / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [*LADLE, "up", *options],
                env={**os.environ, **environment(settings.with_changes(**changes))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        started.append(process)
        wait_until(lambda: "are starting" in (tmp_path / "up.log").read_text(), "the start", PATIENCE_S)
        return psutil.Process(process.pid)

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.wait(STOPPED_WITHIN_S)


def test_it_retrains_the_policy_that_serves_and_stops_everything(ladle_up, tmp_path):
    process = ladle_up("--retrain-every", "1s")
    log = tmp_path / "logs" / "trainer.log"
    wait_until(lambda: log.exists() and "usable experiences, 60 are needed" in log.read_text(), "a round", PATIENCE_S)
    children = process.children(recursive=True)
    assert len(children) >= 3
    process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs(children, STOPPED_WITHIN_S)
    assert left == []


@pytest.mark.parametrize(
    ("options", "changes"), [(["--no-retrain"], {}), ([], {"placer": "round-robin"})], ids=["unwanted", "a rule serves"]
)
def test_it_does_not_retrain(ladle_up, tmp_path, options, changes):
    ladle_up("--no-serve", *options, **changes)
    assert {log.stem for log in (tmp_path / "logs").glob("*.log")} == {"planner", "node-1"}


def test_it_opens_the_gateway_and_says_where(ladle_up, tmp_path):
    ladle_up("--no-retrain")
    wait_until(lambda: "OpenAI's base URL" in (tmp_path / "up.log").read_text(), "the address")
    url = re.search(r"http://localhost:\d+", (tmp_path / "up.log").read_text())[0]
    log = tmp_path / "logs" / "gateway.log"
    wait_until(lambda: log.exists() and "startup complete" in log.read_text(), "the gateway", PATIENCE_S)
    body = json.dumps({"prompt": "x"}).encode()
    request = urllib.request.Request(f"{url}/v1/images/generations", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert json.load(answer)["ladle"]["node"] == "node-1"
