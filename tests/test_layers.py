"""Who may import whom, and what an import may load (docs/code.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, circle, dotted, imported_names, imports, modules, rooms

ALLOWED = {
    "broker_config": set(),
    "rl_agent": {"broker_config"},
    "workers": {"broker_config"},
    "planner": {"broker_config", "rl_agent"},
}
MODULES = modules(*PACKAGES)
IMPORTS = imports(MODULES)
FOLDERS = sorted({parent.as_posix() for path in MODULES for parent in Path(path).parents})


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package):
    forbidden = {"tests", "benchmarks", *ALLOWED} - {package} - ALLOWED[package]
    arrows = {
        (path, name)
        for path, tree in MODULES.items()
        if path.startswith(f"{package}/")
        for name in imported_names(tree)
        if name.split(".")[0] in forbidden
    }
    assert arrows == set()


@pytest.mark.parametrize("room", ["broker_config.sqlite", "rl_agent.ladts", "rl_agent.placing"])
def test_a_room_that_stands_alone_imports_nothing_of_ours_outside_itself(room):
    assert {
        (path, name)
        for path, tree in MODULES.items()
        if path.startswith(room.replace(".", "/") + "/")
        for name in imported_names(tree)
        if name.split(".")[0] in ALLOWED and not f"{name}.".startswith(f"{room}.")
    } == set()


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions and under TYPE_CHECKING count as well."""
    assert circle(IMPORTS) == []


def test_no_room_imports_itself_by_way_of_others():
    """In every folder, its modules and its folders as wholes import one another without a circle."""
    assert [found for folder in FOLDERS if (found := circle(rooms(IMPORTS, folder)))] == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("planner", ("torch", "diffusers", "workers", "matplotlib", "pydantic", "kombu", "sqlalchemy", "numpy")),
        ("planner.client.client", ("torch", "diffusers", "stable_baselines3", "gymnasium", "workers", "sqlalchemy")),
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


@pytest.mark.parametrize("path", [path for path in MODULES if path.endswith("__init__.py")])
def test_a_package_says_what_it_is_and_sorts_what_it_exports(path):
    tree = MODULES[path]
    assert ast.get_docstring(tree)
    exports = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets)
    ]
    for names in exports:
        assert names == sorted(names)


def test_each_name_that_a_benchmark_imports_from_us_exists():
    """Nobody runs them at every change, and mypy does not read them."""
    defined = {dotted(path): names_in(tree) for path, tree in MODULES.items()}
    missing = {
        f"{path}: {name}"
        for path, tree in modules("benchmarks").items()
        for name in imported_names(tree)
        if name.split(".")[0] in ALLOWED and name not in defined
        if name.rpartition(".")[2] not in defined.get(name.rpartition(".")[0], set())
    }
    assert missing == set()


def names_in(tree):
    """Names that a module binds at its top level."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.If):  # TYPE_CHECKING: imported when they are asked for
            names |= names_in(node)
        else:
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


def test_there_is_no_module_without_a_noun():
    assert [path for path in MODULES if Path(path).stem in ("utils", "helpers", "misc", "common")] == []


def test_a_circle_would_be_found():
    arrows = {"a/x.py": {"b/y.py"}, "b/y.py": {"b/z.py"}, "b/z.py": {"a/w.py"}, "a/w.py": set()}
    assert circle(arrows) == []
    assert rooms(arrows, ".") == {"a": {"b"}, "b": {"a"}}
    assert circle(rooms(arrows, ".")) == ["a", "b", "a"]
    assert rooms(arrows, "b") == {"b/y.py": {"b/z.py"}, "b/z.py": set()}


CODE_PAGE = (ROOT / "docs" / "code.md").read_text()
ROOMS = re.findall(r"^\| `(\w+/[^`]+?)/?` \|", CODE_PAGE, re.MULTILINE)


def test_each_room_has_one_line_in_docs_code():
    folders = {path for path in FOLDERS if path != "." and path not in PACKAGES}
    alone = {path for path in MODULES if path.count("/") == 1 and not path.endswith("__init__.py")}
    assert sorted(ROOMS) == sorted(folders | alone)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_above_it_in_docs_code(package):
    arrows = rooms(IMPORTS, package)
    order = [room for room in ROOMS if room in arrows]
    below = {(room, other) for room in order for other in arrows[room] if other in order[order.index(room) :]}
    assert below == set()


def test_each_path_in_docs_code_exists():
    spans = re.findall(r"`([\w/.]+)`", CODE_PAGE)
    paths = {span for span in spans if "/" in span or span.endswith((".py", ".md", ".toml"))}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
