"""Transactions, outages and migrations of the ledger, on both databases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from planner_world import World
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

import planner
from broker_config.errors import ConfigurationError
from planner.errors import DatabaseUnavailableError, DeadLetterError
from planner.ledger.ledger import Ledger, job_counts
from planner.ledger.tables import JobRow
from planner.turns.dead_letters import post_of


def test_a_whole_job_on_each_database(ledger):
    world = World(ledger=ledger)
    world.up("a", speeds={"tiny": {"load_s": 1.0, "s_per_unit": 2.0}})
    world.submit("one", request={"prompt": "Zwölf Boxkämpfer ✓ \U0001f3a8"})
    world.submit("two")
    world.draw("a")
    world.restart()
    world.report("a")
    world.draw("a")
    assert world.row("one")["request"]["prompt"].startswith("Zwölf")
    assert {world.state("one"), world.state("two")} == {"DONE"}
    with ledger.transaction() as connection:
        counts = ledger.count_by_state(connection)
        assert [row["id"] for row in ledger.recent_jobs(connection, 1)] == ["two"]
        assert ledger.recent_jobs(connection, 5, ["WAITING"]) == []
        assert [row["id"] for row in ledger.recent_jobs(connection, 5, id_prefix="tw")] == ["two"]
    assert job_counts(counts) == (0, 2)


def test_jobs_are_found_by_all_of_their_labels(ledger):
    world = World(ledger=ledger)
    world.submit("one", labels={"album": "spring", "a.b/c-d": 'x "quoted" \\ ✓'})
    world.submit("two", labels={"album": "spring"})
    world.submit("three", labels={"album": "autumn"})
    world.submit("none")

    def found(**asked):
        with ledger.transaction() as connection:
            return [row["id"] for row in ledger.recent_jobs(connection, 9, **asked)]

    assert sorted(found(labels={"album": "spring"})) == ["one", "two"]
    assert found(labels={"album": "spring", "a.b/c-d": 'x "quoted" \\ ✓'}) == ["one"]
    assert found(labels={"album": "spring"}, id_prefix="tw") == ["two"]
    assert found(labels={"album": "summer"}) == found(labels={"a.b": "x"}) == []
    assert len(found(labels={})) == 4
    assert world.row("one")["labels"]["album"] == "spring"
    assert world.row("none")["labels"] == {}


def test_migrating_again_changes_nothing(ledger):
    ledger.migrate()


def test_the_ledger_of_an_older_ladle_is_brought_up_to_date(database_url):
    ledger, config = Ledger(database_url), Config()
    config.set_main_option("script_location", str(Path(planner.__file__).parent / "ledger" / "migrations"))
    columns = "received_at, reason, queue, headers, body, body_bytes"
    with ledger.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text(f"INSERT INTO dead_letter ({columns}) VALUES (0, 'r', 'planner', '{{}}', '', 0)"))
    ledger.migrate()
    with ledger.transaction() as connection:
        (letter,) = ledger.dead_letters(connection)
    ledger.close()
    assert letter["routing_key"] is None
    with pytest.raises(DeadLetterError, match="its routing key is not known"):
        post_of(letter)


LETTER = {"received_at": 0.0, "reason": "r", "queue": "q", "headers": {}, "body": "", "body_bytes": 0}


def test_the_id_of_a_dropped_letter_is_not_used_again(ledger):
    with ledger.transaction() as connection:
        ledger.insert_dead_letters(connection, [LETTER])
        (dropped,) = ledger.dead_letters(connection)
        ledger.drop_dead_letters(connection, [dropped["id"]])
        ledger.insert_dead_letters(connection, [LETTER])
        assert ledger.dead_letters(connection, [dropped["id"]]) == []
        assert len(ledger.dead_letters(connection)) == 1


def test_an_error_rolls_the_transaction_back(ledger):
    def fail():
        with ledger.transaction() as connection:
            ledger.insert_dead_letters(connection, [LETTER])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with ledger.transaction() as connection:
        assert ledger.dead_letters(connection) == []


def test_a_refused_statement_is_no_outage(ledger):
    def violate():
        with ledger.transaction() as connection:
            for _ in range(2):
                connection.execute(text("INSERT INTO planner (id, holder, beats) VALUES (1, 'x', 0)"))

    with pytest.raises(DBAPIError):
        violate()


def test_a_damaged_file_is_an_outage_with_its_setting(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"this is no database at all, " * 100)
    with pytest.raises(DatabaseUnavailableError, match="LADLE_DATABASE_URL"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db").migrate()


def test_a_database_that_is_away_is_an_outage_without_its_password():
    with pytest.raises(DatabaseUnavailableError) as error:
        Ledger("postgresql+psycopg://ladle:secret@127.0.0.1:9/ladle").migrate()
    assert "secret" not in str(error.value)
    assert "ladle:***@127.0.0.1:9" in str(error.value)


def test_a_malformed_url_is_refused():
    with pytest.raises(ConfigurationError, match="LADLE_DATABASE_URL"):
        Ledger("postgresql+psycopg://host:port/x")


def test_a_tick_leaves_its_time_and_a_ledger_of_an_older_ladle_has_none(ledger):
    with ledger.transaction() as connection:
        assert ledger.last_tick(connection) is None
        connection.execute(text("INSERT INTO planner (id, holder, beats) VALUES (1, 'x', 0)"))
        assert ledger.last_tick(connection) is None
        ledger.beat(connection, 12.5)
        assert ledger.pulse(connection) == ("x", 1)
        assert ledger.last_tick(connection) == 12.5


@pytest.mark.fault(13, "B")
def test_a_locked_file_is_waited_for(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.migrate()
    lock = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
    lock += "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(0.5)"
    with subprocess.Popen([sys.executable, "-c", lock, f"{tmp_path}/ledger.db"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with ledger.transaction() as connection:
            assert ledger.pulse(connection) is None
    ledger.close()


@pytest.mark.fault(42)
def test_a_statement_that_is_too_large_is_no_outage_though_the_driver_calls_it_operational(ledger):
    ids = [f"job-{number}" for number in range(300_000)]
    with pytest.raises(DBAPIError), ledger.transaction() as connection:
        connection.execute(select(JobRow).where(col(JobRow.id).in_(ids)))


def test_any_number_of_jobs_is_looked_up(ledger):
    world = World(ledger=ledger)
    world.submit("job-69999")
    with ledger.transaction() as connection:
        found = ledger.jobs(connection, [f"job-{number}" for number in range(70_000)])
    assert list(found) == ["job-69999"]


def test_a_ledger_without_tables_is_waited_for(database_url):
    ledger = Ledger(database_url)
    with pytest.raises(DatabaseUnavailableError), ledger.transaction() as connection:
        ledger.open_jobs(connection)
    ledger.close()
