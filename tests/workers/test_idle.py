"""A node's memory is freed when it has had no job for a while, and never beneath one."""

from __future__ import annotations

import threading

import pytest
from ladle_site import wait_until

from workers.idle import IdleUnload

SOON_S = 0.05
NEVER_S = 3600.0


@pytest.fixture
def freed():
    """Times at which memory was freed."""
    return []


@pytest.fixture
def make(freed):
    made = []

    def make(after_s):
        made.append(IdleUnload(after_s, lambda: freed.append(1)))
        return made[-1]

    yield make
    for idle in made:
        idle.close()


def test_memory_is_freed_once_when_no_job_comes(make, freed):
    make(SOON_S)
    wait_until(lambda: freed, "freed memory")
    assert not threading.Event().wait(4 * SOON_S)
    assert freed == [1]


def test_it_is_freed_again_after_the_next_job(make, freed):
    idle = make(SOON_S)
    wait_until(lambda: freed, "freed memory")
    with idle.busy():
        pass
    wait_until(lambda: len(freed) == 2, "memory freed again")


def test_nothing_is_freed_while_a_job_is_drawn_however_long(make, freed):
    idle = make(SOON_S)
    with idle.busy():
        assert not threading.Event().wait(4 * SOON_S)
        assert freed == []
    wait_until(lambda: freed, "freed memory")


def test_a_job_that_fails_is_over_too(make, freed):
    idle = make(SOON_S)
    with pytest.raises(ZeroDivisionError), idle.busy():
        raise ZeroDivisionError
    wait_until(lambda: freed, "freed memory")


@pytest.mark.parametrize("after_s", [0, NEVER_S])
def test_without_a_time_or_before_it_nothing_is_freed(make, freed, after_s):
    idle = make(after_s)
    with idle.busy():
        pass
    assert not threading.Event().wait(SOON_S)
    assert freed == []


def test_a_node_that_ends_frees_nothing_any_more(make, freed):
    idle = make(SOON_S)
    idle.close()
    with idle.busy():
        pass
    assert not threading.Event().wait(4 * SOON_S)
    assert freed == []


def test_memory_that_cannot_be_freed_ends_nothing(caplog):
    def fail():
        raise RuntimeError("the driver is gone")

    idle = IdleUnload(SOON_S, fail)
    wait_until(lambda: "cannot be freed" in caplog.text or "could not be freed" in caplog.text, "a line of the log")
    with idle.busy():
        pass
    idle.close()
