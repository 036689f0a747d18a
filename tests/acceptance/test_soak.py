"""A minute of the soak on each broker; `make soak` takes ten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("broker", ["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_while_processes_die_at_random_every_job_has_exactly_one_end(broker, request, tmp_path):
    if broker == "rabbitmq":
        request.getfixturevalue("private_rabbitmq")  # skips, or fails in CI, where none can be started
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "1", "--broker", broker, "--folder", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "Every job has exactly one end" in done.stdout
    assert "killed" in done.stdout
