"""The `ladle` command as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from broker_config.extras import EXTRAS
from broker_config.settings import PLACERS, load_settings
from planner.cli.main import main
from rl_agent.placing.rules import RULES

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
COMMANDS = main.list_commands(click.Context(main))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(ladle, command):
    result = ladle(command, "--help")
    assert result.exit_code == 0, result.output
    assert "Not installed" not in result.output
    assert len(result.output.split("Options:")[0].split()) > 8


@pytest.mark.parametrize("asked", [["--help"], ["--version"], ["--version", "--verbose"]])
def test_what_ladle_says_of_itself_waits_for_none_of_its_libraries(asked):
    script = f"import sys; from planner.cli import main; main({asked}, standalone_mode=False); "
    script += "print(*{name.split('.')[0] for name in sys.modules})"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = said.splitlines()[-1].split()
    assert {"pydantic", "kombu", "celery", "sqlalchemy", "numpy", "torch", "rich"} & set(loaded) == set()


def test_the_summaries_are_those_of_the_commands(ladle):
    listed = ladle("--help").output.split("Commands:")[1]
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert f"  {name} " in listed
        assert command.get_short_help_str(100) in listed


def test_a_command_without_its_packages_is_listed_as_such(tmp_path):
    (tmp_path / "odd.py").write_text("import no_such_package\ncommand = None\n")
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "entry_points.txt").write_text("[ladle.commands]\nodd = odd:command\n")
    script = "from planner.cli import main; main()"
    said = [
        subprocess.run(
            [sys.executable, "-c", script, *asked],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        for asked in (["--help"], ["odd"])
    ]
    assert "odd         `ladle odd` needs no_such_package" in said[0].stdout
    assert "Error: `ladle odd` needs no_such_package: pip install no_such_package" in said[1].stderr


@pytest.mark.parametrize(("typed", "meant"), [("wroker", "worker"), ("submitt", "submit"), ("job", "jobs")])
def test_a_misspelt_command_is_answered_with_what_is_like_it(ladle, typed, meant):
    said = ladle(typed)
    assert said.exit_code == 2
    assert f"No such command '{typed}'" in said.output
    assert meant in said.output.split("Did you mean")[1].split()


def groups():
    """Every group of commands, `ladle` itself among them."""
    loaded = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    return {"": main} | {name: command for name, command in loaded.items() if isinstance(command, click.Group)}


@pytest.mark.parametrize("group", groups())
def test_every_summary_is_whole_in_80_columns(ladle, monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "80")
    commands = ladle(*group.split(), "--help").output.split("Commands:")[1].splitlines()[1:]
    assert [line.split()[0] for line in commands] == groups()[group].list_commands(click.Context(main))
    assert [line for line in commands if line.endswith("...")] == []
    assert [line for line in ladle(*group.split(), "--help").output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(("shell", "at"), [("bash", "1"), ("zsh", "1"), ("fish", "wo")])
def test_the_shell_completes_commands_as_the_documentation_says(shell, at):
    assert f"_LADLE_COMPLETE={shell}_source ladle" in OPERATIONS.read_text()
    program = "import sys; from planner.cli import main; sys.argv[0] = 'ladle'; main()"
    variables = {**os.environ, "COMP_WORDS": "ladle wo", "COMP_CWORD": at}
    script, words = (
        subprocess.run(
            [sys.executable, "-c", program],
            env={**variables, "_LADLE_COMPLETE": f"{shell}_{what}"},
            capture_output=True,
            text=True,
            check=what == "complete",
        ).stdout
        for what in ("source", "complete")
    )
    assert f"_LADLE_COMPLETE={shell}_complete" in script
    assert "worker" in words


def test_the_version_is_one_line_and_verbose_names_what_is_installed_of_each_extra(ladle):
    assert ladle("--version").output.count("\n") == 1
    for arguments in (("--version", "--verbose"), ("-v", "--version")):
        said = ladle(*arguments).output.splitlines()
        assert said[0] == f"ladle, version {version('ladle')}"
        assert [line.split()[0] for line in said[2:]] == list(EXTRAS)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("memory", "tiny"), "worker"),
        (("worker", "--node", "attic"), "worker"),
        (("up",), "worker"),
        (("demo",), "worker"),
        (("retrain",), "train"),
        (("report",), "train"),
        (("bench",), "train"),
        (("up", "--retrain-every", "10m"), "train"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_is_not_installed_is_said_at_once_with_what_to_install(base_install, tmp_path, arguments, extra):
    engine = "emulated" if extra == "train" else "diffusers"
    ended = base_install.ladle(*arguments, LADLE_DATA_DIR=str(tmp_path / "data"), LADLE_ENGINE=engine)
    said = " ".join(ended.stdout.split())
    assert f"pip install '.[{extra}]' in a checkout of Ladle" in said
    assert f"`ladle {arguments[0]}` needs" in said or "retraining needs" in said
    assert "Traceback" not in said
    assert ended.returncode == 1
    assert not (tmp_path / "data").exists()


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
