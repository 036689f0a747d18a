"""A password given in a URL is found in no log, error, command line, table or output."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import psutil
import pytest
from ladle_site import PATIENCE_S, Site
from sqlalchemy import MetaData, create_engine, select

from broker_config.settings import environment
from planner.cli.processes import planner_command, worker_command

pytestmark = pytest.mark.rabbitmq
SECRET = "dist1nctive-Pa55word"
LADLE = [sys.executable, "-W", "ignore", "-c", "from planner.cli import main; main()"]


@pytest.fixture(scope="module")
def broker_url(private_rabbitmq):
    """A broker's URL with the secret in it."""
    private_rabbitmq.rabbitmqctl("add_user", "somebody", SECRET)
    private_rabbitmq.rabbitmqctl("set_permissions", "somebody", ".*", ".*", ".*")
    yield private_rabbitmq.url.replace("guest:guest", f"somebody:{SECRET}")
    private_rabbitmq.rabbitmqctl("delete_user", "somebody")


def run(settings, *arguments):
    """Return all that a `ladle` command says."""
    done = subprocess.run(
        [*LADLE, *arguments],
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr


def complain(arguments, folder, broker_url):
    """Run a `ladle` command that cannot succeed."""
    variables = {"LADLE_DATA_DIR": str(folder), "LADLE_BROKER_URL": broker_url, "LADLE_CONFIRM_TIMEOUT_S": "2"}
    done = subprocess.run(
        [*LADLE, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


def everything_in(database_url):
    engine = create_engine(database_url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [str(row) for table in tables.tables.values() for row in connection.execute(select(table))]
    engine.dispose()
    return "\n".join(rows)


@pytest.mark.postgresql
def test_a_run_leaves_its_passwords_nowhere(make_site, broker_url, postgresql_url):
    # Given a site whose broker and ledger have passwords, started by `ladle up`, with all logging on
    parts = urlsplit(postgresql_url)
    login = f"{parts.username or 'postgres'}:{SECRET}@"  # which a server that trusts local users does not look at
    database_url = urlunsplit(parts._replace(netloc=login + parts.netloc.rpartition("@")[2]))
    site = make_site(broker_url=broker_url, database_url=database_url)
    with (site.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*LADLE, "-v", "up", "--nodes", "1", "--no-retrain"],
            env={**os.environ, **environment(site.settings)},
            stdout=log,
            stderr=log,
        )
    try:
        # When a job runs, and a second planner speaks its mind
        with site.client() as client:
            job = client.submit(prompt="x").result(PATIENCE_S).job
        debug = site._spawn("debug", [*planner_command("second"), "-l", "DEBUG"], {})
        debug.wait_ready()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        commands = [" ".join(each.cmdline()) for each in family]
        said = [run(site.settings, *command) for command in (["nodes"], ["jobs"], ["jobs", job], ["-v", "cancel", job])]
    finally:
        process.terminate()
        process.wait(PATIENCE_S)

    # Then none of it shows a password
    logs = {log.name: log.read_text() for log in site.folder.rglob("*.log")}
    assert sum("planner" in command or "workers" in command for command in commands) >= 2
    assert job in said[2]
    assert len(logs) >= 4
    assert [name for name, text in logs.items() if SECRET in text] == []
    assert [command for command in commands if SECRET in command] == []
    assert [text for text in said if SECRET in text] == []
    ledger = everything_in(site.settings.database)
    assert job in ledger
    assert SECRET not in ledger


@pytest.mark.parametrize(
    "break_url",
    [
        lambda url: url.replace(SECRET, f"wrong-{SECRET}"),
        lambda url: url.removesuffix("//") + "/no-such-vhost",
        lambda url: f"amqp://somebody:{SECRET}@127.0.0.1:9//",
        lambda url: f"amqp://somebody:{SECRET}@no-such-host.invalid//",
        lambda url: url.replace("amqp://", "amqps://"),
        lambda url: url.replace("amqp://", "http://"),
        lambda url: url.replace(SECRET, f"{SECRET}/#@"),
    ],
    ids=["wrong password", "no such vhost", "nobody there", "no such host", "no TLS there", "other scheme", "unquoted"],
)
def test_no_error_shows_a_password(broker_url, tmp_path, break_url):
    complain(["-v", "submit", "a red heart"], tmp_path, break_url(broker_url))


@pytest.mark.parametrize("options", [[], ["--management-url", f"http://somebody:{SECRET}@127.0.0.1:9"]])
def test_no_error_of_the_management_api_shows_a_password(broker_url, tmp_path, options):
    complain(["-v", "node", "add", "attic", *options], tmp_path, broker_url)


@pytest.mark.parametrize("command", [planner_command(), worker_command("a")], ids=["planner", "worker"])
def test_a_refused_process_ends_and_its_log_shows_no_password(broker_url, tmp_path, command):
    site = Site(tmp_path, broker_url=broker_url.replace(SECRET, f"wrong-{SECRET}"))
    process = site._spawn("refused", command, {})
    try:
        assert process.wait() != 0
    finally:
        site.stop()
    assert "refuses this user" in process.log
    assert SECRET not in process.log
