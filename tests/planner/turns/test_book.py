"""Who may change a job: the rule, kept by reading the sources."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import planner
from planner.state.jobs import LiveJob
from planner.turns.turn import Turn

PACKAGE = Path(planner.__file__).parent
COLLECTIONS = {field.name for field in fields(Turn)} - {"connection", "now"}
JOB_FIELDS = {field.name for field in fields(LiveJob)}
KEEPERS = {"turns/book.py", "turns/turn.py"}
CLIENT_SIDE = {"cli", "client"}  # what they call a job is what a client knows of it
MUTATORS = {"add", "append", "clear", "discard", "extend", "pop", "popitem", "remove", "setdefault", "update"}


def changes(path):
    """Yield what a module changes: ("job.state", line) for each assigned or mutated attribute of a name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node, node.lineno
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield from ((child, node.lineno) for child in ast.walk(node.value) if isinstance(child, ast.Attribute))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            yield from ((child, node.lineno) for child in ast.walk(node.func.value) if isinstance(child, ast.Attribute))


def others():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in KEEPERS and name.split("/")[0] not in CLIENT_SIDE:
            yield name, path


def owner_name(node):
    return node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")


def test_a_job_is_changed_only_by_the_book():
    found = {
        f"{name}:{line} {owner_name(node)}.{node.attr}"
        for name, path in others()
        for node, line in changes(path)
        if node.attr in JOB_FIELDS and owner_name(node) in ("job", "live")
    }
    assert found == set()


def test_the_collections_of_a_turn_are_filled_only_by_the_book_and_the_turn():
    found = {
        f"{name}:{line} {owner_name(node)}.{node.attr}"
        for name, path in others()
        for node, line in changes(path)
        if node.attr in COLLECTIONS and owner_name(node) == "turn"
    }
    assert found == set()


def test_the_jobs_the_waiting_ones_and_the_nodes_are_replaced_only_by_the_book():
    found = {
        f"{name}:{line} {owner_name(node)}.{node.attr}"
        for name, path in others()
        for node, line in changes(path)
        if (node.attr in ("jobs", "waiting") and owner_name(node) in ("book", "planner"))
        or (node.attr == "cluster" and isinstance(node.ctx, ast.Store))
    }
    assert found == set()
