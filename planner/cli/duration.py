"""Durations on the command line: 90s, 10m, 2h."""

from __future__ import annotations

import re

import click

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A number of seconds, minutes or hours: 90s, 10m, 2h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", str(value))
        if found is None or float(found[1]) <= 0.0:
            self.fail(f"{value!r} is no duration such as 90s, 10m or 2h", param, ctx)
        return float(found[1]) * UNITS_S[found[2]]
