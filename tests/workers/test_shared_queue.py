"""The rival's app: one queue for all nodes, and no planner."""

from __future__ import annotations

import pytest
from image_requests import an_image_request

from broker_config.calls import GenerateShared
from broker_config.messages import Assignment
from broker_config.topology import SHARED_QUEUE
from workers.shared_queue import app, generate


def test_every_node_consumes_the_same_queue_one_message_at_a_time():
    assert [queue.name for queue in app.conf.task_queues] == [SHARED_QUEUE.name]
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_acks_late


def test_a_process_that_did_not_start_as_a_worker_draws_nothing():
    assert generate.name == GenerateShared.TASK
    assignment = Assignment(job="j", attempt=1, node="a", client="c", request=an_image_request(), limit_s=60.0)
    with pytest.raises(RuntimeError, match="no node in this process"):
        generate(assignment.to_wire())
