"""A collector of traces on loopback that speaks OTLP over HTTP, as the real ones do."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What was exported to `endpoint` so far."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._received: list[tuple[str, Span]] = []

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            attributes = of_resource.resource.attributes
            service = next(a.value.string_value for a in attributes if a.key == "service.name")
            for of_scope in of_resource.scope_spans:
                self._received.extend((service, span) for span in of_scope.spans)

    def spans(self, service: str, name: str) -> list[Span]:
        """Spans of this name from one service."""
        return [
            span for whose, span in list(self._received) if (whose, span.name) == (service, name)
        ]


def attributes(span: Span) -> dict[str, str | int]:
    """A span's attributes, texts and numbers."""
    return {
        one.key: one.value.string_value
        if one.value.HasField("string_value")
        else one.value.int_value
        for one in span.attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    """A running collector."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            collector.take(body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            return

    server.RequestHandlerClass = Receive
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
