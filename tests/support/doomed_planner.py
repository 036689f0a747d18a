"""The planner of the package, killed or stuck at one named moment: `python doomed_planner.py MOMENT [celery options]`.

SQLAlchemy's events say when the moment has come; nothing of the planner is replaced.

    before-commit   a submit was handled, its transaction is not committed
    after-commit    an attempt is committed, its message is not published
    after-publish   the broker has the message, the attempt is not marked as published
    stuck           in the transaction of a submit it computes for ever
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from celery.__main__ import main
from sqlalchemy import Engine, Pool, event

INSERTED = {"before-commit": "INSERT INTO job ", "after-commit": "INSERT INTO attempt "}


def die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("no process survives that")


def doom(moment: str) -> None:
    """Kill this process at `moment`."""
    if moment == "after-publish":
        event.listen(Engine, "before_cursor_execute", die_before_the_mark)
        return
    if moment == "stuck":
        event.listen(Engine, "before_cursor_execute", compute_for_ever)
        return
    has_come: list[bool] = []

    def look(_connection, _cursor, statement, *_):
        if statement.startswith(INSERTED[moment]):
            has_come.append(True)

    def die_if_it_has(*_):
        if has_come:
            die()

    event.listen(Engine, "before_cursor_execute", look)
    event.listen(*((Engine, "commit") if moment == "before-commit" else (Pool, "checkin")), die_if_it_has)


def compute_for_ever(_connection, _cursor, statement, *_):
    if statement.startswith(INSERTED["before-commit"]):
        sys.stderr.write("computing for ever\n")
        while True:
            pass


def die_before_the_mark(_connection, _cursor, statement, *_):
    changed, _, _ = statement.partition("WHERE")
    if changed.startswith("UPDATE attempt SET state=") and "closed_at" not in changed:
        die()


if __name__ == "__main__":
    _, moment, *options = sys.argv
    sys.argv[1:] = options
    doom(moment)
    main()
