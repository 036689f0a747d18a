from __future__ import annotations

import pytest

from planner.ledger.ledger import Ledger


@pytest.fixture
def ledger(database_url):
    """The tables on each kind of database in turn."""
    ledger = Ledger(database_url)
    ledger.migrate()
    yield ledger
    ledger.close()
