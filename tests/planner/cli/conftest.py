from __future__ import annotations

import pytest
from click.testing import CliRunner
from planner_world import World

from broker_config.settings import load_settings
from planner.cli.main import main
from planner.ledger.ledger import Ledger


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty data folder, where the settings say."""
    folder = tmp_path / "data"
    monkeypatch.setenv("LADLE_DATA_DIR", str(folder))
    load_settings.cache_clear()
    yield folder
    load_settings.cache_clear()


@pytest.fixture
def ladle(tmp_path, monkeypatch, data_dir):
    """Run `ladle` in an empty folder with an empty data folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(main, list(arguments))


@pytest.fixture
def planner_world(data_dir):
    """A planner, nobody else, on the ledger that `ladle` reads."""
    data_dir.mkdir()
    ledger = Ledger(load_settings().database)
    yield World(ledger=ledger)
    ledger.close()


@pytest.fixture
def ladle_of(ladle, monkeypatch):
    """Let `ladle` run on the broker and ledger of a site."""

    def use(site):
        monkeypatch.setenv("LADLE_DATA_DIR", str(site.settings.data_dir))
        load_settings.cache_clear()
        return ladle

    yield use
    load_settings.cache_clear()
