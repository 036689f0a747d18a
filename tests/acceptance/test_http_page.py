"""The examples of docs/http.md run as they stand there, but for the port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_server import serving
from source_tree import ROOT

from broker_config.settings import environment

PAGE = (ROOT / "docs" / "http.md").read_text()
SHELL, PYTHON = (re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for language in ("sh", "python"))


@pytest.fixture
def program(tmp_path):
    """A folder with a `ladle`, for the shell."""
    program = tmp_path / "bin" / "ladle"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom planner.cli import main; main()\n")
    program.chmod(0o755)
    return program.parent


@pytest.mark.parametrize("example", SHELL, ids=lambda example: example.split()[0])
def test_a_shell_example_of_the_page_runs(site, program, tmp_path, example):
    if "curl" in example and shutil.which("curl") is None:
        pytest.skip("no curl")
    keys = str(tmp_path / "keys.json")
    with serving(site.settings, http_keys_file=keys) as gateway:
        script = example.replace("localhost:8420", f"localhost:{gateway.port}").replace(
            "curl ", "curl --fail-with-body "
        )
        variables = environment(site.settings.with_changes(http_keys_file=keys))
        path = os.pathsep.join([str(program), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euxc", script],
            env={**os.environ, **variables, "PATH": path, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def names_after(example, gateway):
    names = {"__name__": "__main__"}
    exec(compile(example.replace("http://localhost:8420", gateway.url), "docs/http.md", "exec"), names)
    return names


@pytest.fixture
def python_examples():
    """By the client that they import."""
    return {re.search(r"^from (\w+)", example, re.MULTILINE)[1]: example for example in PYTHON}


def test_the_example_with_openai_runs(site, tmp_path, monkeypatch, python_examples):
    monkeypatch.chdir(tmp_path)
    with serving(site.settings) as gateway:
        names = names_after(python_examples.pop("openai"), gateway)
    assert len(names["answer"].data) == 2
    assert names["edited"].data[0].b64_json
    assert (tmp_path / "heart.webp").stat().st_size > 0


def test_the_example_with_mcp_runs(site, capsys, python_examples):
    with serving(site.settings) as gateway:
        names_after(python_examples.pop("mcp"), gateway)
    assert capsys.readouterr().out.startswith("image/png http.local.")
