"""`ladle demo` from start to end, on emulated engines."""

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
from ladle_site import free_port, wait_until
from PIL import Image

LADLE = [sys.executable, "-c", "from planner.cli import main; main()"]
EMULATED = {"LADLE_ENGINE": "emulated", "LADLE_EMULATED_S_PER_UNIT": "5"}


@pytest.fixture
def options():
    """What else is said to `ladle demo`."""
    return []


@pytest.fixture
def demo(tmp_path, options):
    """Start a demo in an empty folder."""
    with subprocess.Popen(
        [*LADLE, "demo", "--jobs", "6", *options],
        cwd=tmp_path,
        env={**os.environ, **EMULATED, "LADLE_HTTP_PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_the_demo_draws_every_picture_and_stops_what_it_started(demo, tmp_path):
    wait_until(lambda: len(psutil.Process(demo.pid).children()) == 4, "four processes")
    children = psutil.Process(demo.pid).children()
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert "6 images, placed by" in output
    assert "emulated" in output
    assert len(list((tmp_path / "demo-out" / "data" / "images").glob("*/0.png"))) == 6
    with Image.open(tmp_path / "demo-out" / "contact-sheet.png") as sheet:
        assert sheet.width > 800
    assert not any(child.is_running() for child in children)


def test_an_interrupted_demo_stops_what_it_started(demo):
    wait_until(lambda: len(psutil.Process(demo.pid).children()) == 4, "four processes")
    children = psutil.Process(demo.pid).children()
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "everything is stopped" in output
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("options", [["--serve"]])
def test_with_a_page_it_ends_by_naming_its_address_and_goes_on_until_interrupted(demo):
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C stops everything" in line:
            break
    children = psutil.Process(demo.pid).children()
    url = re.search(r"http://localhost:\d+/", lines[-1])[0]
    request = urllib.request.Request(url, headers={"accept": "text/html"})
    with urllib.request.urlopen(request, timeout=60) as page:
        assert "<title>Ladle</title>" in page.read().decode()
    with urllib.request.urlopen(f"{url}page/gallery?whose=all", timeout=60) as gallery:
        assert len(json.load(gallery)["jobs"]) == 6
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    assert not any(child.is_running() for child in children)
