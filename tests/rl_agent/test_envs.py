"""The Gymnasium ids: there wherever both are imported, without loading Gymnasium for whoever only places jobs."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import pytest

from rl_agent.envs import ENVIRONMENTS, GymnasiumFinder

MAKE = "; print(*(gymnasium.make(name).spec.id for name in ('EdgeOffloading-v0', 'EdgePlacement-v1', 'GenAITrace-v1')))"


def run(code):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.split() or done.stderr


@pytest.mark.parametrize(
    "imports",
    ["import rl_agent, gymnasium", "import gymnasium, rl_agent", "import planner.celery, gymnasium"],
)
def test_the_ids_are_registered_in_whichever_order_both_are_imported(imports):
    assert run(imports + MAKE) == ["EdgeOffloading-v0", "EdgePlacement-v1", "GenAITrace-v1"]


def test_gymnasium_finds_an_id_by_the_name_of_the_package():
    assert run("import gymnasium; print(gymnasium.make('rl_agent:EdgePlacement-v1').spec.id)") == ["EdgePlacement-v1"]


def test_without_gymnasium_the_package_is_imported_and_the_missing_one_is_named():
    code = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; import rl_agent; "
    assert "No module named 'gymnasium'" in run(code + "import gymnasium")


def test_other_modules_are_left_to_the_other_finders():
    assert GymnasiumFinder().find_spec("json") is None


def test_each_id_is_in_the_registry_of_this_process():
    assert ENVIRONMENTS.keys() <= gymnasium.registry.keys()
