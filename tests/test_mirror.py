"""The tests lie where the sources lie: tests/<package>/<room>/test_<module>.py for <package>/<room>/<module>.py."""

from __future__ import annotations

import ast

from source_tree import PACKAGES, ROOT, modules

SOURCES = modules(*PACKAGES)
TESTS = {
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / "tests" / package).rglob("test_*.py")
}

# Test modules of more than one source module, and why.
OF_MORE_THAN_ONE = {
    "tests/planner/gateway/test_client_packages.py": "image clients as they are installed, whichever surface they use",
    "tests/planner/gateway/test_other_programs.py": "requests as other programs send them, whichever surface they use",
    "tests/planner/turns/test_extremes.py": "whole turns, with what every message may hold at its most extreme",
    "tests/planner/turns/test_machine.py": "a state machine plays planner, standby and nodes against each other",
    "tests/rl_agent/policy/test_shipped.py": "the policy that ships is a folder, not a module",
    "tests/workers/test_hostile_models.py": "hostile files, whichever module meets them first",
    "tests/workers/test_real_pipelines.py": "the architectures that people use, through the whole worker",
}


def mirror(source: str) -> str:
    """Return where the tests of a source module are."""
    folder, _, name = source.rpartition("/")
    return f"tests/{folder}/test_{name}"


def has_behaviour(tree: ast.Module) -> bool:
    """Tell whether any function in a module does something: the methods of a Protocol do not."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(not is_empty(statement) for function in functions for statement in function.body)


def is_empty(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_each_test_module_has_its_source_module_or_the_reason_why_it_has_none():
    assert TESTS - {mirror(source) for source in SOURCES} == OF_MORE_THAN_ONE.keys()


def test_each_source_module_with_behaviour_has_its_test_module():
    """Apart from `__init__`, which re-exports, and migrations, which the ledger's tests run on both databases."""
    sources = {path for path, tree in SOURCES.items() if has_behaviour(tree) and "/migrations/" not in path}
    assert {path for path in sources if not path.endswith("__init__.py") and mirror(path) not in TESTS} == set()
