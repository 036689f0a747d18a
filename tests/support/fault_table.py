"""Pytest plugin: which test shows which row of docs/faults.md. `pytest --faults` runs those and prints a line per row.

A test says `@pytest.mark.fault(7)`: its transport is that of its broker parameter ("embedded" or "sqlite" is B,
"rabbitmq" or "postgresql" is R). Without such a parameter it names the transport: `@pytest.mark.fault(12, "R")`. One
that takes long is marked `slow_fault` as well: `make test` leaves it out, `make faults` does not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
HEADING = re.compile(r"^### (\d+)\. (.+) \(([BR]|B R)\)$")
TEST = re.compile(r"^- `(tests/[^`]+)`")
TRANSPORT_OF_PARAMETER = {"embedded": "B", "sqlite": "B", "rabbitmq": "R", "postgresql": "R"}


@dataclass(frozen=True)
class FaultRow:
    """One fault as docs/faults.md describes it: its number, its name, the transports it names, the tests it names."""

    number: int
    fault: str
    transports: tuple[str, ...]
    tests: frozenset[str]


def rows(page: str) -> list[FaultRow]:
    """Read the rows of docs/faults.md."""
    found: list[tuple[re.Match[str], set[str]]] = []
    for line in page.splitlines():
        if heading := HEADING.match(line):
            found.append((heading, set()))
        elif found and (test := TEST.match(line)):
            found[-1][1].add(test[1])
    return [FaultRow(int(head[1]), head[2], tuple(head[3].split()), frozenset(tests)) for head, tests in found]


def shown_by(item: pytest.Item) -> list[tuple[int, str]]:
    """Return the (row, transport) pairs that a test says it shows."""
    parameters = getattr(item, "callspec", None)
    values = [] if parameters is None else [value for value in parameters.params.values() if isinstance(value, str)]
    own = [TRANSPORT_OF_PARAMETER[value] for value in values if value in TRANSPORT_OF_PARAMETER]
    pairs = []
    for marker in item.iter_markers("fault"):
        row, *named = marker.args
        if not named and not own:
            raise pytest.UsageError(f"{item.nodeid}: name the transport, as in fault({row}, 'R')")
        pairs += [(row, transport) for transport in named or own]
    return pairs


def problems(page_rows: list[FaultRow], shown: dict[str, list[tuple[int, str]]]) -> list[str]:
    """Say which rows lack a test, and where docs/faults.md and the tests' markers differ."""
    tests = defaultdict(set)
    for nodeid, pairs in shown.items():
        for row, transport in pairs:
            tests[row, transport].add(nodeid.partition("[")[0])
    found = [
        f"row {row.number}: no test on {transport}"
        for row in page_rows
        for transport in row.transports
        if not tests[row.number, transport]
    ]
    for row in page_rows:
        marked = tests[row.number, "B"] | tests[row.number, "R"]
        found += [f"row {row.number}: docs/faults.md does not name {test}" for test in sorted(marked - row.tests)]
        found += [f"row {row.number}: no such test is marked: {test}" for test in sorted(row.tests - marked)]
    return found


def pytest_addoption(parser):
    parser.addoption("--faults", action="store_true", help="run the tests of docs/faults.md, print a line per row")


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(row, *transports): shows a row of docs/faults.md, on B and R or as named")
    config.addinivalue_line("markers", "slow_fault: runs with --faults or -m slow_fault only")
    if config.getoption("--faults"):
        config.pluginmanager.register(FaultTable())


def pytest_collection_modifyitems(config, items):
    if config.getoption("--faults"):
        kept = [item for item in items if item.get_closest_marker("fault")]
    elif "slow_fault" in config.getoption("-m"):
        return
    else:
        kept = [item for item in items if not item.get_closest_marker("slow_fault")]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


class FaultTable:
    """Counts what became of the tests of each row, and says so at the end."""

    def __init__(self) -> None:
        self.rows = rows(PAGE.read_text())
        self.shown: dict[str, list[tuple[int, str]]] = {}
        self.results: dict[int, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[int] = Counter()
        self.problems: list[str] = []

    def pytest_collection_finish(self, session):
        self.shown = {item.nodeid: shown_by(item) for item in session.items}
        self.problems = problems(self.rows, self.shown)

    def pytest_runtest_logreport(self, report):
        for row in {row for row, _ in self.shown[report.nodeid]}:
            self.seconds[row] += report.duration
            if report.when == "call" or not report.passed:
                self.results[row][report.outcome] += 1

    def pytest_sessionfinish(self, session, exitstatus):
        if self.problems and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("faults: docs/faults.md")
        for row in self.rows if not terminalreporter.config.option.collectonly else ():
            results = self.results[row.number]
            verdict = ", ".join(f"{results[word]} {word}" for word in ("failed", "passed", "skipped") if results[word])
            terminalreporter.write_line(
                f"{row.number:3}  {row.fault:.60}".ljust(67)
                + f"{' '.join(row.transports):5}{verdict or 'not run':24}{self.seconds[row.number]:7.1f} s",
                red=bool(results["failed"]),
            )
        for problem in self.problems:
            terminalreporter.write_line(problem, red=True)
