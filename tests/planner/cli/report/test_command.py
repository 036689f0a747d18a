from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from planner_world import World
from policies import policy_files

from broker_config.messages import DELAY_PARTS
from broker_config.settings import Settings
from planner.cli import tables
from planner.cli.main import main
from planner.ledger.ledger import Ledger
from planner.ledger.report_data import read_report
from rl_agent.policy import registry


@pytest.fixture
def world(tmp_path):
    """Two nodes that have made 40 images in 400 s, and a promotion in the middle."""
    world = World(ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"), node_timeout_s=1e6)
    for name in ("a", "b"):
        world.up(name, speeds={"tiny": {"load_s": 1.0, "s_per_unit": 1.0}})
    for number in range(40):
        if number == 20:
            with world.ledger.transaction() as connection:
                registry.add_policy(connection, policy_files("v1"), world.clock.now())
                registry.promote(connection, "v1", world.clock.now())
        world.submit(f"job-{number}")
        world.clock.time_s += 10.0
        name = "a" if world.placed_on("a") else "b"
        world.start(name)
        world.finish(name, timings={"load_s": 1.0, "generation_s": 4.0})
        world.record()
    yield world
    world.ledger.close()


def read(world):
    with world.ledger.transaction(reads=True) as connection:
        return read_report(connection, 0.0)


def test_the_report_adds_up_to_what_the_ledger_says(world):
    data = read(world)
    assert len(data.finished_at) == 40
    np.testing.assert_allclose(data.delay_s, 10.0)
    np.testing.assert_allclose(data.mean_parts_s().sum(axis=1), 10.0)
    assert data.mean_parts_s()[0, DELAY_PARTS.index("generation_s")] == pytest.approx(4.0)
    np.testing.assert_allclose(data.shares().sum(axis=0), 1.0)
    assert list(data.promotions) == ["v1"]


def test_utilisation_is_load_and_generation_over_time(world):
    data = read(world)
    total_s = data.utilisation() @ np.diff(data.edges)
    assert total_s.sum() == pytest.approx(5.0 * 39, rel=0.02)  # the first job ended where the report begins


def test_the_command_writes_a_picture_and_a_page_that_needs_nothing_else(world, tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    result = CliRunner().invoke(main, ["report", "--out", str(tmp_path / "r")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "r.html").read_text()
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    assert "least-backlog" in page


def test_an_empty_ledger_is_one_sentence(tmp_path, monkeypatch):
    settings = Settings(_env_file=None, data_dir=tmp_path)
    monkeypatch.setattr(tables, "load_settings", lambda: settings)
    ledger = Ledger(settings.database)
    ledger.migrate()
    ledger.close()
    result = CliRunner().invoke(main, ["report", "--since", "10m"])
    assert result.exit_code == 1
    assert "nothing to report" in result.output
