"""docs/faults.md: every row has a test on each transport it names, and names the tests there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fault_table import PAGE, FaultRow, problems, rows

REPOSITORY = Path(__file__).parent.parent
ROW = FaultRow(7, "it dies", ("B", "R"), frozenset({"tests/test_x.py::test_it_lives"}))
SHOWN = {"tests/test_x.py::test_it_lives[embedded]": [(7, "B")], "tests/test_x.py::test_it_lives[amqp]": [(7, "R")]}


def test_the_rows_of_the_page_are_in_order_each_once():
    numbers = [row.number for row in rows(PAGE.read_text())]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1


def test_the_rows_of_the_page_and_the_marked_tests_agree():
    marked = [str(path) for path in (REPOSITORY / "tests").rglob("test_*.py") if "mark.fault(" in path.read_text()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--faults", "--collect-only", "-q", "-p", "no:cacheprovider", *marked],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_a_row_is_read_with_its_transports_and_tests():
    page = "### 7. it dies (B R)\n\nIt lives.\n\n- `tests/test_x.py::test_it_lives`\n\n## Soak\n"
    assert rows(page) == [ROW]
    assert problems([ROW], SHOWN) == []


def test_a_row_without_a_test_on_a_transport_is_a_problem():
    (problem,) = problems([ROW], {key: pairs for key, pairs in SHOWN.items() if "amqp" in key})
    assert problem == "row 7: no test on B"


def test_a_test_that_the_page_does_not_name_and_one_that_is_not_there_are_problems():
    moved = {key.replace("it_lives", "it_lives_on"): pairs for key, pairs in SHOWN.items()}
    assert problems([ROW], moved) == [
        "row 7: docs/faults.md does not name tests/test_x.py::test_it_lives_on",
        "row 7: no such test is marked: tests/test_x.py::test_it_lives",
    ]
