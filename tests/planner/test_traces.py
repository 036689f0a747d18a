"""What the planner adds to a job's trace."""

from __future__ import annotations

import pytest

from planner import traces

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def recorded(monkeypatch):
    """Names, times and parents of what was recorded."""
    spans = []

    def record(name, attributes, *, parent, began_at, ended_at):
        spans.append((name, attributes, parent, ended_at - began_at))

    monkeypatch.setattr(traces, "record_span", record)
    return spans


def test_waiting_the_way_out_and_the_end_are_spans_of_the_submits_trace(world, recorded):
    world.submit(traceparent=PARENT)
    world.pause(5.0)
    world.up("a")
    world.start("a")
    world.finish("a", timings={"load_s": 0.0, "generation_s": 1.0, "transfer_out_s": 0.25})
    world.record()
    assert [(name, lasted) for name, _, _, lasted in recorded] == [("wait", 5.0), ("transfer out", 0.25), ("end", 0.0)]
    assert {parent for _, _, parent, _ in recorded} == {PARENT}
    assert recorded[-1][1] == {"ladle.job": "job-1", "ladle.state": "DONE", "ladle.attempts": 1}


def test_each_time_it_waits_is_a_span_of_its_own(world, recorded):
    world.up("a")
    world.submit(traceparent=PARENT)
    world.start("a")
    world.pause(3.0)
    world.finish("a", "failed")
    world.record()
    world.draw("a")
    waits = [(attributes["ladle.node"], lasted) for name, attributes, _, lasted in recorded if name == "wait"]
    assert waits == [("a", 0.0), ("a", 0.0)]


def test_a_planner_that_takes_over_goes_on_with_the_trace_and_sends_it_to_nodes(world, recorded):
    world.submit(traceparent=PARENT)
    world.restart()
    sent = []
    publish = world.publisher.publish
    world.publisher.publish = lambda posts: sent.extend(posts) or publish(posts)
    world.up("a")
    assert [post.traceparent for post in sent if post.exchange == "ladle.nodes"] == [PARENT]
    world.draw("a")
    assert [name for name, *_ in recorded] == ["wait", "transfer out", "end"]


def test_a_job_that_is_not_traced_has_no_spans(world, recorded):
    world.up("a")
    world.submit()
    world.draw("a")
    assert recorded == []


@pytest.mark.parametrize("odd", ["", "00-0-0-00", "x" * 55, PARENT.upper(), PARENT + "\n"])
def test_what_is_no_trace_context_is_refused(world, odd):
    world.submit(traceparent=odd)
    assert world.kinds() == ["refused"]
