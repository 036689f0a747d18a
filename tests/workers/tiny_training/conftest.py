"""Training tests compute on one thread: results are the same on every machine, and no test takes another's core."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread):
    """Each of them."""
