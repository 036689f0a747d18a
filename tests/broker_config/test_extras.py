"""What is installed of Ladle's optional parts, against what `pyproject.toml` says they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from broker_config.errors import NotInstalledError
from broker_config.extras import EXTRAS, check_engine, check_installed, describe_extras, extra_with, missing_of
from broker_config.settings import Settings

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_extras_are_those_of_pyproject():
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    named = {
        extra: {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in requirements}
        for extra, requirements in declared.items()
    }
    del named["dev"]
    assert {extra: set(modules) for extra, modules in EXTRAS.items()} == named


def test_a_part_of_a_package_belongs_to_the_extra_of_the_package():
    assert [extra_with(module) for module in ("torch.nn", "matplotlib.figure", "numpy", "")] == [
        "worker",
        "train",
        None,
        None,
    ]


def test_without_its_packages_an_extra_is_missing_and_the_error_says_what_to_install(base_install):
    script = "from broker_config.extras import *; print(missing_of('worker')); check_installed('worker', '`x`')"
    said = base_install.run("-c", script).stdout
    assert str(list(EXTRAS["worker"])) in said
    assert said.endswith(f"`x` needs {', '.join(EXTRAS['worker'])}: pip install '.[worker]' in a checkout of Ladle\n")


@pytest.mark.parametrize("program", ["rl_agent.reproduce", "rl_agent.train_placement"])
def test_a_program_without_its_packages_ends_with_what_to_install(base_install, program):
    ended = base_install.run("-m", program, "--help")
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"`python -m {program}` needs torch, stable_baselines3")
    assert ended.stdout.endswith("pip install '.[train]' in a checkout of Ladle\n")


def test_what_is_in_no_extra_is_installed_by_its_own_name():
    assert str(NotInstalledError("this command", ["gcsfs"], None)) == "this command needs gcsfs: pip install gcsfs"


def test_an_emulated_engine_needs_nothing_and_a_real_one_its_packages(base_install):
    script = "from broker_config.extras import *; from broker_config.settings import Settings; "
    script += "check_engine(Settings(engine='%s'), 'a node')"
    assert base_install.run("-c", script % "emulated").stdout == ""
    assert "a node needs torch, diffusers" in base_install.run("-c", script % "diffusers").stdout


def test_where_all_is_installed_nothing_is_said():
    pytest.importorskip("diffusers")
    check_installed("worker", "`x`")
    check_engine(Settings(_env_file=None), "`x`")
    assert missing_of("worker") == []


def test_each_extra_is_a_line_with_versions_or_what_is_missing(base_install):
    assert [line.split()[0] for line in describe_extras()] == list(EXTRAS)
    said = base_install.run("-c", "from broker_config.extras import *; print('\\n'.join(describe_extras()))").stdout
    assert said.count("missing") == sum(map(len, EXTRAS.values()))
