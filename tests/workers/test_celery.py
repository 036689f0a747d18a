"""The worker's app. Real workers are in tests/acceptance."""

from __future__ import annotations

import os
import subprocess

import pytest
from fake_engine import FakeEngine
from image_requests import an_image_request
from prometheus_client import CollectorRegistry

from broker_config.errors import ConfigurationError
from broker_config.memory_publisher import MemoryPublisher
from broker_config.settings import Settings
from planner.cli.processes import worker_command
from workers import celery as worker
from workers.done_ledger import DoneLedger
from workers.image_store import ImageStore
from workers.metrics import WorkerCounts
from workers.node import NodeWorker


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    """Of a node that runs in this process."""
    publisher = MemoryPublisher()
    node = NodeWorker(
        name="a",
        settings=Settings(_env_file=None, data_dir=tmp_path),
        engine=FakeEngine(),
        publisher=publisher,
        reporter_publisher=MemoryPublisher(),
        done=DoneLedger(tmp_path / "done.db"),
        store=ImageStore(f"file://{tmp_path}", inline_mib=1),
        speeds={},
        problems=[],
        counts=WorkerCounts(CollectorRegistry()),
    )
    monkeypatch.setattr(worker, "_node", node)
    yield publisher
    node.end()


def call(**kwargs):
    worker.generate.apply(kwargs=kwargs, task_id="job-1/1", throw=True)


def assignment(**changes):
    request = an_image_request(seed=7)
    return {"job": "job-1", "attempt": 1, "node": "a", "client": "c", "request": request, "limit_s": 60.0, **changes}


def test_an_assignment_is_drawn(publisher):
    call(assignment=assignment())
    assert publisher.sent[0].body["outcome"]["result"] == "done"


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"assignment": None},
        {"assignment": assignment(), "surprise": 1},
        {"assignment": assignment(from_a_newer_planner=True)},
        {"assignment": assignment(attempt=0)},
    ],
)
def test_an_assignment_that_cannot_be_read_is_buried_under_its_id(publisher, kwargs):
    call(**kwargs)
    (post,) = publisher.sent
    assert post.exchange == "ladle.dead"
    assert post.body["headers"]["id"] == "job-1/1"


@pytest.mark.parametrize("queues", [None, [], "celery", "node.a,node.b", ["planner"]])
def test_a_worker_consumes_one_node_queue_only(queues):
    with pytest.raises(ConfigurationError, match="-Q node"):
        worker._node_name(queues)


def test_its_name_is_that_of_its_queue():
    assert worker._node_name("node.attic") == "attic"
    assert worker._node_name(["node.attic"]) == "attic"


def test_without_a_worker_there_is_no_node():
    with pytest.raises(RuntimeError, match="no node"):
        worker.node()


def test_a_worker_that_lacks_its_packages_ends_with_what_to_install(base_install, tmp_path):
    ended = base_install.run(*worker_command("attic")[1:], LADLE_DATA_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "ladle worker: a node that draws needs torch, diffusers" in ended.stdout
    assert "pip install '.[worker]' in a checkout of Ladle" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_worker_whose_node_cannot_be_made_ends_with_the_reason(tmp_path):
    # Given a ledger of finished attempts that cannot be opened
    (tmp_path / "done-attic.db").mkdir()
    ended = subprocess.run(
        worker_command("attic"),
        env={**os.environ, "LADLE_DATA_DIR": str(tmp_path), "LADLE_ENGINE": "emulated"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.rstrip().splitlines()[-1].startswith("ladle worker: node attic cannot start: ")
    assert "no node in this process" not in ended.stderr
