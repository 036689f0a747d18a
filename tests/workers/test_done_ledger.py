from __future__ import annotations

import pytest

from workers.done_ledger import KEPT, DoneLedger


@pytest.fixture
def done(tmp_path):
    ledger = DoneLedger(tmp_path / "folder" / "done.db")
    yield ledger
    ledger.close()


def test_what_was_put_is_found_by_job_and_attempt(done):
    done.put("job-1", 1, {"result": "done"})
    assert done.get("job-1", 1) == {"result": "done"}
    assert done.get("job-1", 2) is None
    assert done.get("job-2", 1) is None


def test_it_outlives_the_process(done, tmp_path):
    done.put("job-1", 1, {"result": "done"})
    again = DoneLedger(tmp_path / "folder" / "done.db")
    assert again.get("job-1", 1) == {"result": "done"}
    again.close()


def test_the_oldest_are_forgotten(done):
    for number in range(KEPT + 10):
        done.put("job", number, {"n": number})
    assert done.get("job", 9) is None
    assert done.get("job", 10) == {"n": 10}
    assert done.get("job", KEPT + 9) == {"n": KEPT + 9}


def test_putting_the_same_again_replaces_it(done):
    done.put("job", 1, {"n": 1})
    done.put("job", 1, {"n": 2})
    assert done.get("job", 1) == {"n": 2}


def test_starts_without_an_end_are_counted_across_processes(done, tmp_path):
    assert [done.begin("job", 1) for _ in range(3)] == [0, 1, 2]
    assert done.begin("job", 2) == 0
    again = DoneLedger(tmp_path / "folder" / "done.db")
    assert again.begin("job", 1) == 3
    again.put("job", 1, {"n": 1})
    assert again.begin("job", 1) == 0
    again.close()


def test_the_oldest_starts_are_forgotten(done):
    for number in range(KEPT + 1):
        done.begin("job", number)
    assert (done.begin("job", KEPT), done.begin("job", 0)) == (1, 0)
