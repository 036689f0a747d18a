"""`ladle demo` from start to end, on emulated engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from ladle_site import wait_until
from PIL import Image

LADLE = [sys.executable, "-c", "from planner.cli import main; main()"]
EMULATED = {"LADLE_ENGINE": "emulated", "LADLE_EMULATED_S_PER_UNIT": "5"}


@pytest.fixture
def demo(tmp_path):
    """Start a demo in an empty folder."""
    with subprocess.Popen(
        [*LADLE, "demo", "--jobs", "6"],
        cwd=tmp_path,
        env={**os.environ, **EMULATED},
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
