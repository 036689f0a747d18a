"""A wall clock that is wrong, for a process of a test: Python imports this at its start if its folder is on PYTHONPATH.

LADLE_TEST_CLOCK is "OFFSET_S FROM": the offset holds once the machine's monotonic clock, which all its processes share,
is at FROM (0: from the beginning). Ladle's own code is not touched.
"""

from __future__ import annotations

import os
import time

_offset_s, _from = map(float, os.environ["LADLE_TEST_CLOCK"].split())
_true_time, _true_time_ns = time.time, time.time_ns


def _error_s() -> float:
    return _offset_s if time.monotonic() >= _from else 0.0


time.time = lambda: _true_time() + _error_s()
time.time_ns = lambda: _true_time_ns() + int(_error_s() * 1e9)
