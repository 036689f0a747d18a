from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from open_databases import is_open, opened_databases
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from rl_agent.database import for_reading, open_database


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.execute(text("create table jobs (name text primary key)"))
        connection.execute(text("create table attempts (job text references jobs (name))"))
    yield engine
    engine.dispose()


def names(connection):
    return [name for (name,) in connection.execute(text("select name from jobs"))]


def test_nothing_is_opened_before_the_first_use(tmp_path):
    open_database(f"sqlite:///{tmp_path / 'ledger.db'}").dispose()
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_fails_leaves_nothing(engine):
    def insert_twice():
        with engine.begin() as connection:
            connection.execute(text("insert into jobs values ('a')"))
            connection.execute(text("insert into jobs values ('a')"))

    with pytest.raises(IntegrityError):
        insert_twice()
    with engine.begin() as connection:
        assert names(connection) == []


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(engine):
    with engine.begin() as writer:
        writer.execute(text("insert into jobs values ('a')"))
        with for_reading(engine).begin() as reader:
            assert names(reader) == []
    with for_reading(engine).begin() as reader:
        assert names(reader) == ["a"]


def test_a_transaction_that_may_write_holds_the_lock_from_its_beginning(engine):
    # Given a transaction that has only read so far
    with engine.begin() as first:
        assert names(first) == []
        # When a connection of its own that does not wait wants to write, then it is refused
        with (
            closing(sqlite3.connect(engine.url.database, timeout=0.0)) as second,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            second.execute("insert into jobs values ('b')")


def test_foreign_keys_are_checked_and_commits_are_durable(engine):
    with for_reading(engine).begin() as connection:
        settings = {
            name: connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("foreign_keys", "synchronous")
        }
        assert settings == {"foreign_keys": 1, "synchronous": 2}  # 2 is FULL
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"


def test_a_file_that_is_no_database_is_refused_and_not_kept_open(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"this is no database at all, " * 100)
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with opened_databases() as opened, pytest.raises(DatabaseError):
        engine.connect()
    assert [is_open(connection) for connection in opened] == [False]
