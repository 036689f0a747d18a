from __future__ import annotations

import os
import subprocess
import sys

import pytest

from broker_config.sqlite.lease import Lease, forget, is_held, lease_folder

HOLD = """
import sys, pathlib, time
from broker_config.sqlite.lease import Lease
print(Lease(pathlib.Path(sys.argv[1])).name, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    return lease_folder(tmp_path / "broker.db")


def test_a_lease_is_held_until_released(folder):
    lease = Lease(folder)
    assert is_held(folder, lease.name)
    lease.release()
    lease.release()
    assert not is_held(folder, lease.name)
    assert list(folder.iterdir()) == []


def test_two_leases_of_one_process_are_apart(folder):
    first, second = Lease(folder), Lease(folder)
    first.release()
    assert is_held(folder, second.name)
    second.release()


def test_kill_frees_the_lease_of_another_process(folder):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        name = process.stdout.readline().strip()
        assert is_held(folder, name)
        process.kill()
        process.wait()
        assert not is_held(folder, name)
    forget(folder, name)
    assert not (folder / name).exists()


def test_a_forked_child_neither_keeps_nor_frees_its_parents_lease(folder):
    lease = Lease(folder)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.read(read_end, 1)
        os._exit(0)
    try:
        assert is_held(folder, lease.name)
        lease.release()
        assert not is_held(folder, lease.name)
    finally:
        os.write(write_end, b"x")
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)


def test_an_unknown_lease_is_not_held(folder):
    assert not is_held(folder, "nobody")
