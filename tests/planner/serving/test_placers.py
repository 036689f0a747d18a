"""From the name in `LADLE_PLACER` to a placer: one of somebody else's package, and what is wrong with it."""

from __future__ import annotations

import sys

import pytest

from broker_config.errors import ConfigurationError
from broker_config.settings import Settings
from planner.serving.placers import LEARNED, make_placer
from planner.serving.served_policy import ServedPolicy
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.joint_order import JOINT_AGEING
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.rules import RULES, Rule

OWN = """
from rl_agent.placing.rules import EarliestCompletionPlacer

class Own(EarliestCompletionPlacer):
    name = "own"

class Nameless:
    def place(self, observation):
        return None

class Demanding(Own):
    def __init__(self, strength):
        super().__init__()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module and an installed distribution that names one of its classes; both are gone afterwards."""
    (tmp_path / "own_placers.py").write_text(OWN)
    (tmp_path / "broken_placers.py").write_text("import a_module_that_is_not_there")
    information = tmp_path / "own_placers-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: own-placers\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[ladle.placers]\nmine = own_placers:Own\nrandom = own_placers:Own\ngone = own_placers:Gone\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_placers", None)


def settings(placer):
    return Settings(_env_file=None).with_changes(placer=placer)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_made_by_its_name(name):
    placer = make_placer(settings(name))
    assert isinstance(placer, Rule)
    assert placer.name == name


def test_the_joint_rule_ages_as_the_settings_say():
    for name in ("joint-completion", "patient-completion"):
        assert make_placer(settings(name).with_changes(joint_ageing=0.7)).ageing == 0.7
    assert Settings(_env_file=None).joint_ageing == JOINT_AGEING


def test_the_learned_policy_ages_in_its_order_as_the_settings_say():
    fast = [NodeView(node="a", backlog_s=0.0, room=1, resident=("m",))]
    jobs = [JobView(job="long", model="m", units=20.0, waited_s=60.0), JobView(job="short", model="m", units=10.0)]
    seen = observe(jobs, fast, Estimates())
    placers = [make_placer(settings("lad-ts").with_changes(joint_ageing=ageing)) for ageing in (1e-4, 1e3)]
    assert [placer.place(seen).in_order()[0] for placer in placers] == [1, 0]


def test_by_default_the_learned_policy_serves():
    assert Settings(_env_file=None).placer == LEARNED
    assert isinstance(make_placer(settings(LEARNED)), ServedPolicy)


@pytest.mark.parametrize("name", ["own_placers:Own", "mine"])
def test_a_placer_of_somebody_else_is_made_by_its_class_or_by_its_entry_point(package, name):
    assert make_placer(settings(name)).name == "own"


def test_a_name_of_ladles_own_cannot_be_taken(package):
    assert make_placer(settings("random")).name == "random"


def test_an_unknown_name_lists_what_there_is_with_what_is_installed(package):
    with pytest.raises(
        ConfigurationError, match=r"LADLE_PLACER: .*'min' is none of random, .*lad-ts, gone, mine, and no"
    ):
        settings("min")


@pytest.mark.parametrize("name", ["own_placers:", ":Own", "own placers:Own", "own_placers:Own()", "own_placers"])
def test_what_is_no_name_of_a_class_is_refused_with_the_settings(package, name):
    with pytest.raises(ConfigurationError, match=r"LADLE_PLACER: .* no package.module:Class"):
        settings(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:Own", r"cannot import 'no_such_module:Own' \(No module named 'no_such_module'\).*PYTHONPATH"),
        ("broken_placers:Own", "No module named 'a_module_that_is_not_there'"),
        ("own_placers:Gone", "module 'own_placers' has no attribute 'Gone'"),
        ("gone", "cannot import 'own_placers:Gone'"),
        ("own_placers:Nameless", "it has no name and no policy_version: derive it from rl_agent.placing.rules.Rule"),
        ("own_placers:Demanding", "cannot be called without arguments: .*strength"),
    ],
)
def test_a_placer_that_cannot_serve_is_refused_with_its_variable_and_the_reason(package, name, said):
    with pytest.raises(ConfigurationError, match=f"^LADLE_PLACER: .*{said}"):
        make_placer(settings(name))
