from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

from broker_config.rabbitmq.site_command import command

ADD = ["add", "berlin", "--hub-url", "amqp://hub.example/ladle", "--site-url", "amqp://site.example/edge"]


@pytest.fixture
def run(tmp_path):
    def run_in(*arguments: str) -> str:
        result = CliRunner().invoke(command, [*arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run_in


def read(path):
    return json.loads(path.read_text())


def test_the_files_can_be_read_by_their_owner_only(run, tmp_path) -> None:
    (tmp_path / "hub-berlin.json").touch(mode=0o644)
    printed = run(*ADD, "--node", "b1", "--out", str(tmp_path))
    written = sorted(tmp_path.iterdir())
    assert [path.name for path in written] == [
        "berlin-urls.json",
        "hub-berlin.json",
        "queues-berlin.json",
        "site-berlin.json",
    ]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert all(str(path) in printed for path in written)


def test_one_more_node_leaves_the_passwords_of_the_others(run, tmp_path) -> None:
    run(*ADD, "--node", "b1", "--out", str(tmp_path))
    before = read(tmp_path / "berlin-urls.json")
    run(*ADD, "--node", "b1", "--node", "b2", "--out", str(tmp_path))
    after = read(tmp_path / "berlin-urls.json")
    assert after.keys() - before.keys() == {"node.b2"}
    assert {user: after[user] for user in before} == before
    assert before["node.b1"].startswith("amqp://node.b1:")
    assert before["link.berlin"].endswith("@hub.example/ladle")


def test_what_is_printed_for_the_removal_names_all_that_was_added(run, tmp_path) -> None:
    run(*ADD, "--node", "b1", "--out", str(tmp_path))
    printed = [
        shlex.split(line, comments=True) for line in run("remove", "berlin", "--hub-vhost", "ladle").splitlines()
    ]
    hub, site = read(tmp_path / "hub-berlin.json"), read(tmp_path / "site-berlin.json")
    of_site = {queue["name"] for queue in hub["queues"] if queue["name"].startswith("site.")}
    assert {words[-1] for words in printed if "delete_queue" in words} == of_site
    assert {words[-1] for words in printed if "delete_shovel" in words} == {s["name"] for s in site["parameters"]}
    assert {words[-1] for words in printed if "delete_user" in words} == {user["name"] for user in hub["users"]}


def test_a_broken_file_of_passwords_is_not_overwritten(tmp_path) -> None:
    (tmp_path / "berlin-urls.json").write_text("{")
    result = CliRunner().invoke(command, [*ADD, "--node", "b1", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "cannot read the passwords" in result.output
    assert (tmp_path / "berlin-urls.json").read_text() == "{"


def test_the_queues_are_imported_before_the_shovels_that_would_make_others(run, tmp_path) -> None:
    printed = run(*ADD, "--node", "b1", "--out", str(tmp_path))
    queues, site = read(tmp_path / "queues-berlin.json"), read(tmp_path / "site-berlin.json")
    assert "parameters" not in queues
    assert site == queues | {"parameters": site["parameters"]}
    assert len(site["parameters"]) == 6
    assert printed.index("queues-berlin.json") < printed.index("site-berlin.json")
