"""Traces of OpenTelemetry: a job is one trace, from who asked for it to its result.

A message carries the W3C context of the job's submit (`traceparent`), and every span of the job, in whichever process,
is below it. Nothing is recorded, and OpenTelemetry is not imported, unless `LADLE_TRACES` is set, or the program that
uses a client has imported it.

Source: https://www.w3.org/TR/trace-context/, https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from broker_config.extras import check_installed
from broker_config.settings import Settings

TRACEPARENT = "traceparent"
Value = str | int | float | bool
Kind = Literal["internal", "server", "client", "producer", "consumer"]
NS = 1_000_000_000  # in a second
STEP_BATCH_S = 1.0  # a span keeps 128 events unless OTEL_SPAN_EVENT_COUNT_LIMIT says otherwise


def start_tracing(settings: Settings, service: str) -> None:
    """Let this process export its spans over OTLP, as OpenTelemetry's own variables (`OTEL_*`) say.

    Args:
        settings: whether to.
        service: its `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.

    Raises:
        NotInstalledError: traces are wanted, and the extra `otel` is not installed.
    """
    if not settings.traces:
        return
    check_installed("otel", "LADLE_TRACES")
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def traceparent() -> str | None:
    """Return the context of the present span; None where there is none."""
    if _api() is None:
        return None
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(TRACEPARENT)


def created_traceparent(queue: str, job: str) -> str | None:
    """Record that a job's message was created for `queue`; return that span's context, None if nothing is recorded."""
    with span(f"create {queue}", message_attributes(queue, job, "create"), kind="producer"):
        return traceparent()


def message_attributes(queue: str, job: str, operation: str) -> dict[str, Value]:
    """Return the attributes of a span about a job's message in a queue, by the semantic conventions of messaging."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": queue,
        "messaging.operation.type": operation,
        "ladle.job": job,
    }


@contextmanager
def span(
    name: str, attributes: Mapping[str, Value], *, kind: Kind = "internal", parent: str | None = None
) -> Iterator[Any]:
    """Record what happens in the block as a span, and give it; None is given where nothing is recorded.

    Args:
        name: of the span; `attributes` likewise.
        attributes: by name.
        kind: in OpenTelemetry's words.
        parent: `traceparent` of the span above it; None: the present one.
    """
    trace = _api()
    if trace is None:
        yield None
        return
    tracer = trace.get_tracer("ladle")
    options = {"context": _context(parent), "kind": trace.SpanKind[kind.upper()], "attributes": attributes}
    with tracer.start_as_current_span(name, **options) as current:
        yield current


def record_span(name: str, attributes: Mapping[str, Value], *, parent: str, began_at: float, ended_at: float) -> None:
    """Record a span of the past.

    Args:
        name: of the span.
        attributes: by name.
        parent: `traceparent` of the span above it.
        began_at: Unix seconds.
        ended_at: likewise.
    """
    trace = _api()
    if trace is None:
        return
    tracer = trace.get_tracer("ladle")
    past = tracer.start_span(name, context=_context(parent), attributes=attributes, start_time=int(began_at * NS))
    past.end(end_time=int(max(began_at, ended_at) * NS))


def _api() -> Any:
    """Return OpenTelemetry's API if something in this process uses it."""
    return sys.modules.get("opentelemetry.trace")


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.propagate import extract

    return extract({TRACEPARENT: parent})


class StepEvents:
    """Image steps as events of the span in which they are drawn, in batches.

    Args:
        span: as `span` gives it; None where nothing is recorded.
    """

    def __init__(self, span: Any) -> None:
        self._span = span
        self._told_at = time.monotonic()

    def step(self, image_step: int, image_steps: int) -> None:
        """Take note of an image step, the first being 1, of so many."""
        now = time.monotonic()
        if self._span is None or (now - self._told_at < STEP_BATCH_S and image_step < image_steps):
            return
        self._told_at = now
        self._span.add_event("image steps", {"ladle.image_step": image_step})
