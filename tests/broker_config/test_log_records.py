"""Log records: whatever foreign text enters one, it is one line, and the rest is indented."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from broker_config.log_records import INDENT, MAX_LINE_CHARACTERS, UnforgeableRecord

HOSTILE = "\x1b[2J\n[2026-11-27 12:00:00,000: ERROR/MainProcess] forged \u202e\x85\u2028\ud800\r"
SPELT_OUT = r"\x1b[2J\n[2026-11-27 12:00:00,000: ERROR/MainProcess] forged \u202e\x85\u2028\ud800\r"


class Loud:
    """An object that prints itself as its maker likes."""

    def __str__(self):
        return HOSTILE

    __repr__ = __str__


def refusal():
    """What pydantic says of a field whose name somebody else chose."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({HOSTILE.replace("\ud800", ""): "x"})
    return caught.value


def written(message, *args, **options):
    """What a handler writes of one record, as bytes of a file would be read."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    record = UnforgeableRecord("here", logging.ERROR, __file__, 1, message, args, options.pop("exc_info", None))
    record.stack_info = options.pop("stack_info", None)
    handler.handle(record)
    stream.flush()
    return stream.buffer.getvalue().decode()


@pytest.mark.parametrize(
    "logged",
    [
        ("%s", HOSTILE),
        ("%s", ValueError(HOSTILE)),
        ("%s", Loud()),
        ("%r", Loud()),
        ("%s", [Loud()]),
        ("%(name)s", {"name": HOSTILE}),
        (HOSTILE,),
        (Loud(),),
    ],
)
def test_foreign_text_is_spelt_out_in_one_line_whatever_carries_it(logged):
    assert written(*logged).replace("[\\x1b", "\\x1b").replace("\\r]", "\\r") == f"ERROR {SPELT_OUT}\n"


def test_what_pydantic_says_is_one_line():
    (line,) = written("refused: %s", refusal()).splitlines()
    assert "\\x1b[2J\\n[2026" in line


def test_a_message_without_foreign_text_stays_as_it_is():
    assert written("job %s: %d of %g s, 100%%", "ä", 3, 0.5) == "ERROR job ä: 3 of 0.5 s, 100%\n"


def raised(exc, cause=None):
    try:
        raise exc from cause
    except type(exc):
        return sys.exc_info()


def test_a_traceback_stays_readable_and_each_of_its_lines_is_indented():
    exc = ValueError(HOSTILE)
    exc.add_note(HOSTILE)
    head, *lines = written("it failed", exc_info=raised(exc, cause=KeyError(HOSTILE))).split("\n")[:-1]
    assert head == "ERROR it failed"
    assert all(line.startswith(INDENT) and line.isprintable() for line in lines)
    assert f"{INDENT}Traceback (most recent call last):" in lines
    assert any(line.endswith("in raised") for line in lines)
    assert any(line.startswith(f"{INDENT}ValueError: \\x1b[2J") for line in lines)


def test_an_error_that_was_not_raised_and_none_at_all_are_logged():
    assert written("odd", exc_info=(None, None, None)) == f"ERROR odd\n{INDENT}NoneType: None\n"


def test_a_line_is_cut_before_a_collector_would_split_it():
    text = written("%s", "x" * 10**6, exc_info=raised(ValueError("y" * 10**6)))
    assert max(map(len, text.splitlines())) < MAX_LINE_CHARACTERS + 100
    assert "(1000000 characters in all)" in text


@given(st.text(), st.text())
def test_no_text_makes_another_record(message, error):
    head, *lines = written("%s", message, exc_info=raised(ValueError(error))).split("\n")[:-1]
    assert head.isprintable()
    assert all(line.startswith(INDENT) and line.isprintable() for line in lines)


PROCESSES = {
    "planner": "import planner.celery",
    "worker": "import workers.celery",
    "the rival's worker": "import workers.shared_queue",
    "trainer": "import rl_agent.celery",
    "ladle": "from planner.cli.main import main; main(['nodes', '--help'], standalone_mode=False)",
    "ladle -v": "from planner.cli.main import main; main(['-v', 'nodes', '--help'], standalone_mode=False)",
}


@pytest.mark.parametrize("start", PROCESSES.values(), ids=PROCESSES.keys())
def test_each_process_makes_such_records(start):
    log = "import logging; logging.error('%s', 'a\\x1b\\nb'); logging.error('c', stack_info=True)"
    done = subprocess.run([sys.executable, "-c", f"{start}\n{log}"], capture_output=True, text=True, check=True)
    assert "a\\x1b\\nb" in done.stderr
    assert "\x1b" not in done.stderr
    assert re.search(r"^ +Stack \(most recent call last\):", done.stderr, re.MULTILINE)


def test_a_program_that_uses_the_client_keeps_its_own_records():
    code = "import logging, planner; assert logging.getLogRecordFactory() is logging.LogRecord"
    subprocess.run([sys.executable, "-c", code], check=True)
