"""What `ladle report` writes."""

from __future__ import annotations

from click.testing import CliRunner

from broker_config.settings import Settings
from planner.cli import tables
from planner.cli.main import main
from planner.ledger.ledger import Ledger
from rl_agent.retraining.rounds import begin_round, note_round


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


def test_the_rounds_of_retraining_are_shown_with_what_they_used(busy_world, tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    with ledger.transaction() as connection:
        for began_at, reason in ((1e9, "cut short at the gate"), (1e9 + 600.0, "passed the gate")):
            number = begin_round(connection, began_at, last_id=120, outcomes=120)
            note_round(connection, number, began_at + 240.0, wall_s=240.0, processor_s=101.0, reason=reason)
    ledger.close()
    result = CliRunner().invoke(main, ["report", "--out", str(tmp_path / "r")])
    assert "retraining: 2 rounds, 480 s, 202 s of the processor" in result.output
    page = (tmp_path / "r.html").read_text()
    assert "<td>2001-09-09 01:46:40</td><td>120</td><td>240</td><td>101</td><td>cut short at the gate</td>" in page
    assert page.index("passed the gate") < page.index("cut short")


def test_an_empty_ledger_is_one_sentence(tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    ledger.migrate()
    ledger.close()
    result = CliRunner().invoke(main, ["report", "--since", "10m"])
    assert result.exit_code == 1
    assert "nothing to report" in result.output
