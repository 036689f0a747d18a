"""The sources as the guards read them: modules, their syntax, and what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("broker_config", "planner", "rl_agent", "workers")


@cache
def modules(*folders: str) -> dict[str, ast.Module]:
    """Return the syntax of each module below some folders, by its path from the root of the repository."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in paths}


def dotted(path: str) -> str:
    """Return what a module is called in an import: planner/client/__init__.py is planner.client."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield each name that a module imports, in functions and under TYPE_CHECKING too: a.b.c of `from a.b import c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return which of some modules each of them imports, by path."""
    paths = {dotted(path): path for path in trees}
    return {
        path: {paths[module] for name in imported_names(tree) for module in [module_of(name, paths)] if module} - {path}
        for path, tree in trees.items()
    }


def module_of(name: str, known: dict[str, str]) -> str | None:
    """Return the known module of an imported name: the name itself or what it is taken from."""
    return next((module for module in (name, name.rpartition(".")[0]) if module in known), None)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return one circle among arrows, its first member again at its end; [] if there is none."""
    try:
        TopologicalSorter({name: sorted(others) for name, others in sorted(arrows.items())}).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def rooms(arrows: dict[str, set[str]], folder: str) -> dict[str, set[str]]:
    """Contract arrows between modules to arrows between what lies directly in a folder: its modules and its folders."""
    prefix = "" if folder == "." else f"{folder}/"
    rows = {path for path in arrows if path.startswith(prefix)}
    child = {path: prefix + path.removeprefix(prefix).partition("/")[0] for path in rows}
    contracted: dict[str, set[str]] = {name: set() for name in child.values()}
    for path in rows:
        contracted[child[path]] |= {child[other] for other in arrows[path] & rows} - {child[path]}
    return contracted


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """Return the classes of a module, wherever in it."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def constants(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign, list[ast.stmt]]]:
    """Yield each UPPER_CASE constant of a module and of its classes: name, statement, and the body it stands in."""
    for body in [tree.body, *(found.body for found in classes(tree))]:
        for statement in body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for name in (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)):
                    if name.id.isupper():
                        yield name.id, statement, body
