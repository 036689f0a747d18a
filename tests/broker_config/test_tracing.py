"""Traces: nothing without OpenTelemetry, and spans below the context that came with a message."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from source_tree import ROOT

from broker_config import tracing
from broker_config.tracing import StepEvents, created_traceparent, record_span, span, traceparent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def recorded(monkeypatch):
    """The spans of this test, newest last."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    yield exporter
    provider.shutdown()


def test_a_span_is_below_the_context_of_its_message(recorded):
    with span("process node.a", {"ladle.job": "j"}, kind="consumer", parent=PARENT), span("draw", {}):
        pass
    draw, process = recorded.get_finished_spans()
    assert f"{process.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{process.parent.span_id:016x}" == PARENT.split("-")[2]
    assert draw.parent.span_id == process.context.span_id
    assert process.kind is trace.SpanKind.CONSUMER
    assert process.attributes["ladle.job"] == "j"


def test_a_created_message_carries_the_context_of_its_creation(recorded):
    with span("request", {}):
        carried = created_traceparent("planner", "j")
    created, request = recorded.get_finished_spans()
    assert carried.startswith(f"00-{created.context.trace_id:032x}-{created.context.span_id:016x}-")
    assert created.parent.span_id == request.context.span_id
    assert created.kind is trace.SpanKind.PRODUCER
    assert created.attributes["messaging.destination.name"] == "planner"


def test_a_span_of_the_past_has_its_times(recorded):
    record_span("wait", {}, parent=PARENT, began_at=100.0, ended_at=103.5)
    (past,) = recorded.get_finished_spans()
    assert (past.start_time, past.end_time) == (100_000_000_000, 103_500_000_000)


def test_image_steps_are_events_in_batches(recorded, monkeypatch):
    times = iter([0.0, 0.3, 1.1, 1.2, 1.3])
    clock = SimpleNamespace(monotonic=lambda: next(times))  # other threads need the real one
    monkeypatch.setattr(tracing, "time", clock)
    with span("draw", {}) as drawing:
        events = StepEvents(drawing)
        for step in (1, 2, 3, 4):
            events.step(step, 4)
    (draw,) = recorded.get_finished_spans()
    assert [event.attributes["ladle.image_step"] for event in draw.events] == [2, 4]


def test_outside_of_any_span_no_context_is_carried(recorded):
    assert traceparent() is None


def test_without_opentelemetry_nothing_is_recorded_or_imported():
    script = """if True:
        import sys
        from broker_config import tracing
        with tracing.span("x", {}) as nothing:
            assert nothing is None
            tracing.StepEvents(nothing).step(1, 1)
        assert tracing.created_traceparent("planner", "j") is None
        tracing.record_span("x", {}, parent="00", began_at=0.0, ended_at=1.0)
        assert not any(name.startswith("opentelemetry") for name in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
