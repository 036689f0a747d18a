"""A run of `ladle bench` before it starts anything, and what it sends; whole runs are in benchmarks/."""

from __future__ import annotations

import pytest
from kombu import Consumer

from broker_config.app import make_app
from broker_config.calls import Cancel, GenerateShared
from broker_config.errors import ConfigurationError
from broker_config.publisher import Publisher
from broker_config.settings import Settings
from broker_config.topology import PLANNER_QUEUE, SHARED_QUEUE
from planner.cli.bench.load import Arrival, EmulatedNode
from planner.cli.bench.run import _shared_post, _speed, clear_broker

NODES = [EmulatedNode(name="bench-1", s_per_step=0.1, drift="5:2")]


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path)


@pytest.fixture
def channel(settings):
    app = make_app("test", settings, queues=[], include=[])
    with app.connection_for_write() as connection:
        yield connection.default_channel


def test_what_an_earlier_run_left_in_the_queues_is_gone(settings, channel):
    clear_broker(settings, NODES)
    publisher = Publisher(make_app("test", settings, queues=[], include=[]), confirm_timeout_s=5)
    publisher.publish([Cancel(["job-1"]).post()])
    publisher.close()
    queue = PLANNER_QUEUE(channel)
    assert queue.queue_declare(passive=True).message_count == 1
    clear_broker(settings, NODES)
    assert queue.queue_declare(passive=True).message_count == 0


def test_a_broker_in_use_is_left_alone(settings, channel):
    clear_broker(settings, NODES)
    with (
        Consumer(channel, queues=[PLANNER_QUEUE], accept=["json"]),
        pytest.raises(ConfigurationError, match="'planner'"),
    ):
        clear_broker(settings, NODES)


def test_a_job_of_the_shared_queue_asks_for_what_arrived():
    post = _shared_post(3, Arrival(at_s=0.0, model="emulated-a", image_steps=17), 60.0)
    assert post.routing_key == SHARED_QUEUE.name
    assignment = GenerateShared.read(post.body).assignment
    assert assignment["job"] == "job-3"
    assert (assignment["request"]["model"], assignment["request"]["num_inference_steps"]) == ("emulated-a", 17)


def test_a_worker_is_told_its_speed_per_megapixel_step():
    assert _speed(NODES[0]) == {
        "LADLE_EMULATED_S_PER_UNIT": str(0.1 / 0.004096),  # of 64 x 64 pixels
        "LADLE_EMULATED_DRIFT": "5:2",
    }
