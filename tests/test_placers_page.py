"""docs/placers.md: its placer runs as it stands there, in the simulator and in a planner."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from planner_world import World

from broker_config.settings import Settings
from planner.serving.placers import make_placer
from rl_agent.placing.observation import Observation
from rl_agent.placing.placer import Placement

PAGE = (Path(__file__).parent.parent / "docs" / "placers.md").read_text()
PLACER, TRIAL = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_placers(tmp_path, monkeypatch):
    (tmp_path / "my_placers.py").write_text(PLACER)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_placers", None)


def test_the_placer_plays_in_the_simulator_and_prints_what_the_page_shows(my_placers, capsys):
    exec(compile(TRIAL, "docs/placers.md", "exec"), {})
    assert capsys.readouterr().out == re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_placer_decides_in_a_planner_and_its_decisions_are_logged_under_its_name(my_placers):
    world = World(make_placer(Settings(_env_file=None, placer="my_placers:CautiousPlacer")))
    world.up("a")
    world.submit("job-1")
    world.draw("a")
    assert world.state("job-1") == "DONE"
    assert [attempt["placer"] for attempt in world.attempts("job-1")] == ["cautious"]


def test_each_command_of_the_page_names_the_class_of_the_page(my_placers):
    for path in re.findall(r"my_placers:(\w+)", PAGE):
        assert f"class {path}(" in PLACER


@pytest.mark.parametrize(("heading", "described"), [("Observation", Observation), ("Placement", Placement)])
def test_the_page_has_each_field_of_what_a_placer_sees_and_answers(heading, described):
    table = PAGE.split(f"| field of `{heading}` |", 1)[1].split("\n\n", 1)[0]
    named = re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:]))
    assert named == [field.name for field in fields(described)]
