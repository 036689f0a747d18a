"""Offenders that the guards still know: tests/known_offenders.txt. It may only shrink, and goes when it is empty."""

from __future__ import annotations

import os
from pathlib import Path

LIST = Path(__file__).parents[1] / "known_offenders.txt"


def unexpected(guard: str, found: set[str]) -> list[str]:
    """Return offenders that are not on the list, and those on the list that no longer offend.

    With SHRINK=1 in the environment the latter are taken off the list first.
    """
    lines = dict.fromkeys(LIST.read_text().splitlines())
    known = {line.partition(" | ")[2] for line in lines if line.startswith(f"{guard} | ")}
    if os.environ.get("SHRINK"):
        LIST.write_text(
            "".join(f"{line}\n" for line in lines if line not in {f"{guard} | {fix}" for fix in known - found})
        )
        known &= found
    new = [f"new: {offender}" for offender in sorted(found - known)]
    return new + [f"mended, so run SHRINK=1 pytest tests/test_*.py: {offender}" for offender in sorted(known - found)]
