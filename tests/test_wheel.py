"""The wheel is whole: it holds every file of the packages, and what it installs draws pictures from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves folders in its source."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", built, source], check=True)
    (file,) = built.glob("ladle-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel; what it depends on is taken from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files are not read
    options = ["--quiet", "--no-deps", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True)
    return folder


def test_it_holds_every_file_of_the_packages(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_what_it_installs_runs_planner_and_workers_that_draw(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LADLE_DATA_DIR")}

    def run(*command):
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    demo = run(installed / "bin" / "ladle", "demo", "--jobs", "2", "--out", "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert len(list((tmp_path / "demo").rglob("*.png"))) > 2  # the contact sheet as well
    packages = run(
        installed / "bin" / "python", "-c", f"import {', '.join(PACKAGES)}; print(__import__('sys').modules)"
    )
    assert all(f"'{package}' from '{installed}" in packages.stdout for package in PACKAGES)
