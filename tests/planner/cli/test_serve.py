"""`ladle serve` and `ladle key`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from ladle_site import PATIENCE_S, free_port, wait_until

from broker_config.settings import Settings, environment
from planner.cli.processes import serve_command
from planner.cli.serve import address, how_it_is_served
from planner.gateway.keys import key_file

LADLE = [sys.executable, "-c", "from planner.cli import main; main()"]


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path)


def test_a_key_is_shown_once_and_listed_and_removed(ladle, data_dir):
    key = ladle("key", "add", "ann", "--may-high", "--may-operate").output.strip()
    assert key.startswith("ladle-")
    listed = ladle("key", "list").output
    assert "ann  may ask for priority high  may operate" in listed
    assert key not in listed
    assert ladle("key", "remove", "ann").exit_code == 0
    assert "There is no key" in ladle("key", "list").output


@pytest.mark.parametrize("arguments", [("add", "Not A Name"), ("remove", "nobody")])
def test_a_wrong_name_is_one_sentence(ladle, arguments):
    result = ladle("key", *arguments)
    assert (result.exit_code, result.output.startswith("Error: name: ")) == (1, True)


@pytest.mark.parametrize(
    ("changes", "has_key", "who"),
    [
        ({}, False, "this machine, without a key"),
        ({}, True, "the keys of ann"),
        ({"http_keys": "always"}, False, "nobody yet: `ladle key add NAME` makes a key"),
        ({"http_host": "0.0.0.0"}, False, "nobody yet: `ladle key add NAME` makes a key"),
        ({"http_host": "0.0.0.0", "http_keys": "never"}, True, "whoever reaches it, without a key"),
    ],
)
def test_it_says_who_may_use_it(settings, changes, has_key, who):
    if has_key:
        key_file(settings).add("ann")
    assert how_it_is_served(settings.with_changes(**changes)).endswith(f"for {who}.")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:8420"),
        ("0.0.0.0", "http://localhost:8420"),
        ("::", "http://localhost:8420"),
        ("10.0.0.7", "http://10.0.0.7:8420"),
        ("fd00::7", "http://[fd00::7]:8420"),
    ],
)
def test_its_address_is_one_that_can_be_opened(settings, host, url):
    assert address(settings.with_changes(http_host=host)) == url


def is_served(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_serves_until_it_is_told_to_end(settings, tmp_path, processes):
    settings = settings.with_changes(http_port=free_port(), grace_s=1)
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*LADLE, "serve", "--processes", processes],
            env={**os.environ, **environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: process.poll() is not None or is_served(address(settings)), "the gateway")
        said = (tmp_path / "serve.log").read_text()
        assert address(settings) in said
        wait_until(lambda: "GET /health 200" in (tmp_path / "serve.log").read_text(), "a line of the log")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


def test_the_plain_command_listens_where_the_settings_say(settings):
    command = serve_command(settings.with_changes(http_host="10.0.0.7", http_port=99, grace_s=2.5), 4)
    for option, value in (("--host", "10.0.0.7"), ("--port", "99"), ("--workers", "4")):
        assert command[command.index(option) + 1] == value
    assert command[command.index("--timeout-graceful-shutdown") + 1] == "3"
    assert "--no-access-log" in command
