"""The command that writes the table. That the page holds it is in tests/test_docs.py."""

from __future__ import annotations

import sys

import pytest

from broker_config import settings_table


def test_asking_for_help_writes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["settings_table", "--help"])
    monkeypatch.setattr(settings_table, "with_table", lambda *_: pytest.fail("it wrote the page"))
    with pytest.raises(SystemExit) as ended:
        settings_table.main()
    assert ended.value.code == 0
    assert "docs/operations.md" in capsys.readouterr().out
