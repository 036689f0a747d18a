"""Hours of the day in which a node draws: `22:00-08:00`, or several, separated by commas; by the clock on its wall."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
DAY_S = 86400.0


@dataclass(frozen=True)
class Hours:
    """Spans of each day, as pairs of seconds since midnight; a span may go over midnight. No spans: all day."""

    spans: tuple[tuple[float, float], ...] = ()

    def are_open(self, now: datetime) -> bool:
        """True when `now`, in the node's time zone, is in one of the spans; its last minute is no longer in it."""
        return not self.spans or self.left_s(now) is not None

    def left_s(self, now: datetime) -> float | None:
        """Return the seconds until the present span ends, the next one included where that begins at once.

        None where there are no spans, or `now` is in none. On the day on which summer time begins or ends it may be an
        hour off.
        """
        left_s = 0.0
        for _ in self.spans:
            at_s = (_since_midnight_s(now) + left_s) % DAY_S
            more_s = [(end - at_s) % DAY_S or DAY_S for begin, end in self.spans if _is_within(at_s, begin, end)]
            if not more_s:
                break
            left_s += max(more_s)
        return min(left_s, DAY_S) if left_s else None


def parse_hours(text: str) -> Hours:
    """Return the hours that a setting says; empty: all day.

    Raises:
        ValueError: it says something else.
    """
    spans = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = SPAN.fullmatch(part)
        if found is None:
            raise ValueError(f"{part[:40]!r} is no span of a day such as 22:00-08:00")
        begin_h, begin_min, end_h, end_min = map(float, found.groups())
        begin_s, end_s = begin_h * 3600.0 + begin_min * 60.0, end_h * 3600.0 + end_min * 60.0
        if begin_s == end_s:
            raise ValueError(f"{part!r} is empty: leave the setting empty for all day")
        spans.append((begin_s, end_s))
    return Hours(tuple(spans))


def _is_within(at_s: float, begin_s: float, end_s: float) -> bool:
    return begin_s <= at_s < end_s if begin_s < end_s else at_s >= begin_s or at_s < end_s


def _since_midnight_s(now: datetime) -> float:
    return now.hour * 3600.0 + now.minute * 60.0 + now.second + now.microsecond * 1e-6
