"""The `ladle` command as a person meets it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from broker_config.settings import PLACERS, load_settings
from planner.cli.main import EXTRA_OF_PACKAGE, OWN_COMMANDS, main
from rl_agent.placing.rules import RULES

COMMANDS = main.list_commands(click.Context(main))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(ladle, command):
    result = ladle(command, "--help")
    assert result.exit_code == 0, result.output
    assert "Not installed" not in result.output
    assert len(result.output.split("Options:")[0].split()) > 8


def test_the_help_lists_every_command_without_importing_torch():
    script = "import sys; from planner.cli.main import main; main(['--help'], standalone_mode=False); "
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_what_is_not_installed_is_installed_from_a_checkout(ladle, monkeypatch):
    monkeypatch.setitem(OWN_COMMANDS, "jobs", "planner.cli.no_such_module:jobs")
    monkeypatch.setitem(EXTRA_OF_PACKAGE, "planner", "worker")
    assert "pip install '.[worker]' in a checkout of Ladle" in " ".join(ladle("jobs", "x").output.split())


def test_every_placer_of_the_settings_is_a_rule_or_the_learned_one():
    assert set(PLACERS) == {*RULES, "lad-ts"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("submit", ""), "prompt: must not be empty"),
        (("submit", "x", "--size", "100000x100000"), "size: 10000 megapixels is over the limit of 4.2"),
        (
            ("submit", "x", "--image-steps", "1000000000"),
            "num_inference_steps: 1e+09 image steps is over the limit of 500",
        ),
        (("submit", "x", "-n", "-1"), "n: "),
        (("submit", "x", "--guidance", "nan"), "guidance_scale: must be a finite number"),
        (("submit", "x", "--image", "nowhere.png"), "image: cannot read nowhere.png"),
        (("bench", "--placer", "best"), "'best' is none of shared-queue, random"),
        (("worker", "--node", "My Node"), "node name 'My Node'"),
        (("planner", "--placer", "shared-queue"), "ladle bench --placer shared-queue"),
    ],
)
def test_bad_input_is_one_sentence_that_says_what_to_do(ladle, arguments, said):
    result = ladle(*arguments)
    assert result.exit_code in (1, 2)
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command", ["jobs", "nodes", "drain a", "dead list", "policy list", "report", "experience count"]
)
@pytest.mark.parametrize("has_folder", [False, True])
def test_before_the_first_planner_looking_says_how_to_start_one(ladle, command, data_dir, has_folder):
    if has_folder:
        data_dir.mkdir()
    said = " ".join(ladle(*command.split()).output.split())
    assert "yet: start one with `ladle planner` or `ladle up`" in said
    assert not (data_dir / "ledger.db").exists()


def test_an_empty_ledger_shows_no_jobs_and_says_how_to_get_a_node(ladle, planner_world):
    assert "No jobs yet" in ladle("jobs").output
    assert "ladle worker --node NAME" in ladle("nodes").output
    assert "no job 'no-such-job' in the ledger" in ladle("jobs", "no-such-job").output


def test_an_unreachable_broker_is_named_without_its_password(ladle, monkeypatch):
    monkeypatch.setenv("LADLE_BROKER_URL", "amqp://me:secret@127.0.0.1:1//")
    load_settings.cache_clear()
    try:
        result = ladle("submit", "a red heart")
    finally:
        monkeypatch.undo()
        load_settings.cache_clear()
    assert result.exit_code == 1
    assert "amqp://me:***@127.0.0.1:1//" in result.output
    assert "LADLE_BROKER_URL" in result.output
    assert "secret" not in result.output
