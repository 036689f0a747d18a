from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from policies import policy_files

from broker_config.settings import Settings
from planner.cli import policy, tables
from planner.cli.main import main
from planner.ledger.ledger import Ledger
from rl_agent.policy.file import load_policy, write_policy
from rl_agent.policy.learned_placer import shipped_policy


@pytest.fixture
def ladle(tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    for module in (tables, policy):
        monkeypatch.setattr(module, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    ledger.migrate()
    ledger.close()

    def run(*arguments):
        result = CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})
        return result.exit_code, result.output

    return run


def test_a_policy_is_added_promoted_rolled_back_and_listed(ladle, tmp_path):
    for version in ("v1", "v2"):
        write_policy(tmp_path / version, policy_files(version))
        assert ladle("policy", "add", str(tmp_path / version))[0] == 0
        assert ladle("policy", "promote", version)[0] == 0
    assert "v1 decides" in ladle("policy", "rollback")[1]
    listed = ladle("policy", "list")[1]
    assert "PROMOTED" in listed
    assert "rolled back by hand" in listed


def test_shadow_and_canary_are_set_and_ended(ladle, tmp_path):
    write_policy(tmp_path / "v1", policy_files("v1"))
    ladle("policy", "add", str(tmp_path / "v1"))
    assert ladle("policy", "shadow", "v1")[0] == 0
    assert "SHADOW" in ladle("policy", "list")[1]
    assert ladle("policy", "canary", "v1", "--share", "0.25")[0] == 0
    assert "CANARY 25%" in ladle("policy", "list")[1]
    assert ladle("policy", "canary", "--off")[0] == 0
    assert "CANDIDATE" in ladle("policy", "list")[1]
    assert ladle("policy", "canary")[0] == 2


def test_a_policy_goes_out_as_the_folder_it_came_in_as(ladle, tmp_path):
    write_policy(tmp_path / "v1", policy_files("v1"))
    ladle("policy", "add", str(tmp_path / "v1"))
    assert ladle("policy", "export", "v1", "--out", str(tmp_path / "again"))[0] == 0
    assert load_policy(tmp_path / "again").card == load_policy(tmp_path / "v1").card
    assert json.loads(ladle("policy", "show", "v1")[1])["card"]["version"] == "v1"


def test_the_policy_that_ships_is_listed_and_shown_while_it_serves_and_in_reserve(ladle, tmp_path):
    shipped = load_policy(shipped_policy()).card.version
    listed = ladle("policy", "list")[1]
    assert shipped in listed
    assert "serves" in listed
    assert json.loads(ladle("policy", "show", shipped)[1])["card"]["version"] == shipped
    write_policy(tmp_path / "v1", policy_files("v1"))
    ladle("policy", "add", str(tmp_path / "v1"))
    ladle("policy", "promote", "v1")
    listed = ladle("policy", "list")[1]
    assert "in reserve" in listed
    assert "serves" not in listed


def test_a_policy_of_the_settings_that_cannot_be_read_is_said_to_be_so(tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path, policy=str(tmp_path / "gone"))
    for module in (tables, policy):
        monkeypatch.setattr(module, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    ledger.migrate()
    ledger.close()
    monkeypatch.setattr(policy.console, "width", 300)
    listed = " ".join(CliRunner().invoke(main, ["policy", "list"]).output.split())
    assert "cannot be served, earliest completion decides" in listed


def test_an_unknown_version_is_one_sentence(ladle):
    code, output = ladle("policy", "promote", "nobody")
    assert code == 1
    assert "there is no policy 'nobody'" in output
    assert "Traceback" not in output
