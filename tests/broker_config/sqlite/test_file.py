from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from kombu.exceptions import OperationalError

from broker_config.sqlite.file import BrokerFile, BrokerFileBusy, BrokerFileFull, BrokerFileUnusable

OPEN = """
import sys, pathlib
from broker_config.sqlite.file import BrokerFile
BrokerFile(pathlib.Path(sys.argv[1])).close()
"""
FILL = """
import resource, sys, pathlib
from broker_config.sqlite.file import BrokerFile, BrokerFileFull
file = BrokerFile(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
stored = 0
try:
    for _ in range(100):
        with file.write() as db:
            db.execute("INSERT INTO message (queue, envelope, body) VALUES ('q', '{}', zeroblob(100000))")
        stored += 1
except BrokerFileFull as exc:
    print(exc)
print(stored, file.read("SELECT count(*) FROM message")[0][0])
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "broker.db"


def test_a_file_and_its_folder_are_made(path):
    with closing(BrokerFile(path)) as file:
        assert file.read("SELECT count(*) FROM message") == [(0,)]
    assert path.exists()


def test_ten_processes_may_make_it_at_once(path):
    code = (
        "import sys, pathlib; from broker_config.sqlite.file import BrokerFile; BrokerFile(pathlib.Path(sys.argv[1]))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(10)]
    assert [process.wait() for process in processes] == [0] * 10


def test_an_exception_rolls_back(path):
    with closing(BrokerFile(path)) as file:
        with pytest.raises(KeyError), file.write() as db:  # noqa: PT012
            db.execute("INSERT INTO exchange VALUES ('x', 'topic')")
            raise KeyError
        assert file.read("SELECT * FROM exchange") == []


@pytest.mark.fault(13, "B")
def test_a_locked_file_is_waited_for(path):
    with closing(BrokerFile(path)) as file, closing(BrokerFile(path)) as other:
        entered, leave = threading.Event(), threading.Event()

        def hold():
            with other.write():
                entered.set()
                leave.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        entered.wait(10)
        threading.Timer(0.2, leave.set).start()
        with file.write() as db:
            db.execute("INSERT INTO exchange VALUES ('x', 'topic')")
        holder.join()


@pytest.mark.fault(13, "B")
def test_a_file_locked_for_too_long_says_so_and_names_the_remedy(path):
    with closing(BrokerFile(path, lock_timeout_s=0.2)) as file, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerFileBusy, match=r"locked by another process for more than 0.2 s.*lock_timeout_s"):
            with file.write():
                pass
        assert file.read("SELECT count(*) FROM message") == [(0,)]
        other.rollback()
        with file.write():
            pass


def test_a_full_disk_says_so_and_loses_nothing_that_was_stored(path):
    done = subprocess.run([sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True)
    sentence, counts = done.stdout.splitlines()
    assert "free some disk space" in sentence
    stored, found = counts.split()
    assert stored == found
    assert int(stored) > 0
    with closing(BrokerFile(path)) as file:
        assert file.read("SELECT count(*) FROM message") == [(int(stored),)]
    assert issubclass(BrokerFileFull, OperationalError)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"this is no database, but it is long enough to be looked at" * 100, "not a database"), (b"", None)],
)
def test_what_is_no_database_is_refused_and_an_empty_file_taken(path, content, sentence):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    if sentence is None:
        BrokerFile(path).close()
    else:
        with pytest.raises(BrokerFileUnusable, match=f"{sentence}.*move the file away"):
            BrokerFile(path)


@pytest.mark.fault(13, "B")
def test_a_damaged_file_is_refused_at_start(tmp_path):
    whole = tmp_path / "whole.db"
    with closing(BrokerFile(whole)) as file, file.write() as db:
        for _ in range(200):
            db.execute("INSERT INTO message (queue, envelope, body) VALUES ('q', '{}', randomblob(3000))")
    content = bytearray(whole.read_bytes())
    content[8192:40960] = bytes(40960 - 8192)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(content)
    with pytest.raises(BrokerFileUnusable, match="move"):
        BrokerFile(damaged)


def test_another_applications_database_is_refused(path):
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE job (id TEXT)")
    with pytest.raises(BrokerFileUnusable, match="choose another path"):
        BrokerFile(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 42")
    with pytest.raises(BrokerFileUnusable, match="another application"):
        BrokerFile(path)


def test_a_file_of_the_first_format_is_brought_up_to_date_with_its_messages(path):
    # Given a file as version 1 wrote it
    BrokerFile(path).close()
    with closing(sqlite3.connect(path)) as first:
        for table in ("queue", "consumer", "message"):
            first.execute(f"ALTER TABLE {table} RENAME COLUMN lease TO owner")
        first.execute("DROP INDEX message_lease")
        first.execute("CREATE INDEX message_owner ON message (owner) WHERE owner IS NOT NULL")
        first.execute("INSERT INTO message (queue, envelope, body, owner) VALUES ('q', '{}', x'01', 'dead')")
        first.execute("PRAGMA user_version = 1")
        first.commit()
    # When it is opened, and opened again
    BrokerFile(path).close()
    file = BrokerFile(path)
    # Then it is what a new one is, and the message is there
    assert file.read("SELECT queue, body, lease FROM message") == [("q", b"\x01", "dead")]
    new = BrokerFile(path.with_name("new.db"))
    assert set(layout(file)) == set(layout(new))
    file.close()
    new.close()


def layout(file):
    columns = file.read(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
    )
    return [*columns, *file.read("SELECT name FROM sqlite_master"), *file.read("PRAGMA user_version")]


def test_a_newer_format_is_refused(path):
    BrokerFile(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(BrokerFileUnusable, match="format 99"):
        BrokerFile(path)


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerFileUnusable, match="file"):
        BrokerFile(tmp_path / "file" / "broker.db")


def test_a_change_is_seen_once_by_everybody(path):
    with closing(BrokerFile(path)) as one, closing(BrokerFile(path)) as two:
        one.changed(), two.changed()
        assert not one.changed()
        with one.write() as db:
            db.execute("INSERT INTO exchange VALUES ('x', 'topic')")
        assert one.changed()
        assert two.changed()
        assert not one.changed()
        assert not two.changed()
        two.touch()
        assert two.changed()


def test_the_errors_survive_pickling():
    error = BrokerFileBusy("/a/b.db", "locked")
    assert str(pickle.loads(pickle.dumps(error))) == "broker file /a/b.db: locked"


def test_a_closed_file_says_so(path):
    file = BrokerFile(path)
    file.close()
    file.close()
    with pytest.raises(BrokerFileBusy, match="connect again"):
        file.read("SELECT 1")
