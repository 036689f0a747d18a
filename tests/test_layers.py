"""Who may import whom, and what an import may load (DESIGN: layout; docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "broker_config": set(),
    "rl_agent": {"broker_config"},
    "workers": {"broker_config"},
    "planner": {"broker_config", "rl_agent"},
}
MODULES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported_modules(path):
    """Modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [node.module]
        else:
            continue
        yield from names


def imported(path):
    """Packages that a module imports, wherever in it."""
    return (name.split(".")[0] for name in imported_modules(path))


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package):
    arrows = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in MODULES
        if path.relative_to(ROOT).parts[0] == package
        for name in imported(path)
        if name in ALLOWED.keys() - {package} - ALLOWED[package] or name == "tests"
    }
    assert arrows == set()


@pytest.mark.parametrize("room", ["rl_agent.ladts"])
def test_a_room_that_stands_alone_imports_nothing_of_ours_outside_itself(room):
    assert {
        (path.name, name)
        for path in (ROOT / room.replace(".", "/")).rglob("*.py")
        for name in imported_modules(path)
        if name.split(".")[0] in ALLOWED and not f"{name}.".startswith(f"{room}.")
    } == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("planner", ("torch", "diffusers", "stable_baselines3", "gymnasium", "workers", "matplotlib")),
        ("planner.cli", ("torch", "diffusers", "stable_baselines3", "gymnasium", "workers")),
        ("planner.celery", ("torch", "diffusers", "stable_baselines3", "gymnasium", "workers")),
        ("workers", ("torch", "diffusers", "transformers", "planner", "rl_agent")),
        ("workers.celery", ("torch", "diffusers", "transformers", "planner", "rl_agent")),
        ("broker_config", ("planner", "workers", "rl_agent", "torch")),
    ],
)
def test_importing_loads_nothing_heavy(module, absent):
    code = f"import {module}, sys; print(*sorted({set(absent)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_a_package_says_what_it_is_and_sorts_what_it_exports(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    exports = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets)
    ]
    for names in exports:
        assert names == sorted(names)


def test_there_is_no_module_without_a_noun():
    assert [path for path in MODULES if path.stem in ("utils", "helpers", "misc", "common")] == []
