"""What `ladle report` writes."""

from __future__ import annotations

from click.testing import CliRunner

from broker_config.settings import Settings
from planner.cli import tables
from planner.cli.main import main
from planner.ledger.ledger import Ledger


def test_the_command_writes_a_picture_and_a_page_that_needs_nothing_else(busy_world, tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    result = CliRunner().invoke(main, ["report", "--out", str(tmp_path / "r")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "r.html").read_text()
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    assert "least-backlog" in page
    assert "<td>when accepted</td><td>40</td>" in page
    assert "time promised when placed: of 40 results" in " ".join(result.output.split())


def test_an_empty_ledger_is_one_sentence(tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    ledger.migrate()
    ledger.close()
    result = CliRunner().invoke(main, ["report", "--since", "10m"])
    assert result.exit_code == 1
    assert "nothing to report" in result.output
