"""What `make` would do, as its own `--dry-run` says it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT

INDEX = "https://builds.example/cpu"
HINT = "No NVIDIA driver here"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make is installed")


def commands(target, **variables):
    """The commands of a target and of all that it needs, as if nothing of it had been made."""
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_INDEX_URL"}
    made = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", target],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.replace("\\\n", " ")


def test_torch_comes_from_the_index_that_one_names():
    assert f"--extra-index-url {INDEX} " in commands("demo", TORCH_INDEX_URL=INDEX)
    assert "--extra-index-url" not in commands("demo", TORCH_INDEX_URL="")


@pytest.mark.skipif(sys.platform != "linux", reason="torch has one build elsewhere")
def test_a_machine_without_a_driver_is_told_of_the_cpu_build():
    has_driver = Path("/proc/driver/nvidia").exists()
    assert (HINT in commands("demo")) is not has_driver
    assert HINT not in commands("demo", TORCH_INDEX_URL=INDEX)


def test_a_broker_that_is_named_gets_the_tests_of_rabbitmq_once_more():
    tests = [line for line in commands("test").splitlines() if "pytest" in line]
    assert tests[0].startswith("LADLE_TEST_BROKER_URL= ")
    assert tests[1].startswith('if [ -n "$LADLE_TEST_BROKER_URL" ]; then ')
    assert tests[1].endswith("pytest -m rabbitmq; fi")
