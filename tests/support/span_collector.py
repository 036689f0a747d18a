"""What OpenTelemetry's exporters send to: an OTLP/HTTP receiver that keeps the spans."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from background_server import in_background
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class SpanCollector:
    """The spans that came: pairs of `service.name` and span."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, object]] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.spans += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]

    def of_trace(self, trace_id: str) -> list[tuple[str, object]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace_id]


@contextlib.contextmanager
def collecting_spans() -> Iterator[SpanCollector]:
    """Receive until the block ends."""
    collector = SpanCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, in_background(server):
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield collector
