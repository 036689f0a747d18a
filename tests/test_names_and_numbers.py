"""What things are called, and why a number is what it is."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
from source_tree import PACKAGES, ROOT, classes, constants, modules

UNITS = ("S", "MS", "PX", "BYTES", "KIB", "MIB", "GIB", "MBIT", "GCYCLES")
VAGUE = {"MOST", "LEAST", "GREATEST", "LARGEST"}  # MAX and MIN say it


def is_numeric(value: ast.expr | None) -> bool:
    """Tell whether an expression is a literal number, or is made of such: arithmetic, a collection, a call."""
    match value:
        case ast.Constant(value=number):
            return isinstance(number, int | float) and not isinstance(number, bool)
        case ast.UnaryOp(operand=operand):
            return is_numeric(operand)
        case ast.BinOp(left=left, right=right):
            return is_numeric(left) or is_numeric(right)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.Dict(values=parts):
            return bool(parts) and all(map(is_numeric, parts))
        case ast.Call(args=arguments):
            return bool(arguments) and all(map(is_numeric, arguments))
    return False


def has_a_reason(statement: ast.stmt, body: list[ast.stmt], lines: list[str]) -> bool:
    """Tell whether a comment stands beside a statement or directly above it, or a docstring directly below it."""
    beside = "#" in "".join(lines[statement.lineno - 1 : statement.end_lineno])
    above = lines[statement.lineno - 2].lstrip().startswith("#") if statement.lineno > 1 else False
    return beside or above or any(map(is_docstring, body[body.index(statement) + 1 :][:1]))


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def bare_numbers(source: str) -> list[str]:
    """Return the numeric constants of a module that have neither a unit nor a reason."""
    lines = source.split("\n")
    return [
        name
        for name, statement, body in constants(ast.parse(source))
        if is_numeric(statement.value)
        if name.rpartition("_")[2] not in UNITS and not has_a_reason(statement, body, lines)
    ]


def test_each_number_has_a_unit_or_a_reason():
    found = {
        f"{path}: {name}"
        for path in modules(*PACKAGES, "benchmarks")
        for name in bare_numbers((ROOT / path).read_text())
    }
    assert found == set()


def test_a_limit_is_called_max_or_min():
    found = {
        f"{path}: {name}"
        for path, tree in modules(*PACKAGES, "benchmarks").items()
        for name, _, _ in constants(tree)
        if VAGUE & set(name.replace("AT_LEAST", "").split("_"))
    }
    assert found == set()


def test_a_class_name_means_one_class():
    counts = Counter(found.name for tree in modules(*PACKAGES).values() for found in classes(tree))
    assert {name for name, count in counts.items() if count > 1} == set()


@pytest.mark.parametrize(
    "source",
    [
        "SHARE = 0.5",
        "SHARE: float = -0.5",
        "BATCH = 2 ** 24",
        "TWICE = 2 * ONCE",
        "LOADS = (0.5, 0.7)",
        "SIZES = {'a': 1, 'b': 2}",
        "EDGES = np.array([0, 1])",
        "class A:\n    SHARE = 0.5",
        "# About two of them.\n\nSHARE = 0.5",
        "SHARE = 0.5\nOTHER_S = 1.0  # why",
    ],
)
def test_a_bare_number_is_found(source):
    assert len(bare_numbers(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "PAUSE_S = 0.5",
        "SHARE = 0.5  # half of it is enough: docs/model.md",
        "# Half of it is enough.\nSHARE = 0.5",
        'SHARE = 0.5\n"""Half of it is enough."""',
        "SIZES = {  # of the paper\n    'a': 1,\n}",
        "DEBUG = False",
        "NAMES = ('a', 'b')",
        "share = 0.5",
        "def f():\n    SHARE = 0.5",
    ],
)
def test_a_number_with_a_unit_or_a_reason_is_not_found(source):
    assert bare_numbers(source) == []
