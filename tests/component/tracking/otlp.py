"""OTLP requests as any exporter may send them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"
SECOND = 10**9


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A span to be sent; times are seconds."""

    trace_id: bytes = field(default_factory=lambda: os.urandom(16))
    span_id: bytes = field(default_factory=lambda: os.urandom(8))
    parent: bytes = b""
    name: str = "work"
    start: int = 1
    end: int = 2
    attributes: Mapping[str, str] = field(default_factory=dict)

    def message(self) -> Span:
        span = Span(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent,
            name=self.name,
            start_time_unix_nano=self.start * SECOND,
            end_time_unix_nano=self.end * SECOND,
        )
        for key, value in self.attributes.items():
            span.attributes.add(key=key).value.string_value = value
        return span


def request(*spans: Sent, resource: Mapping[str, str] | None = None) -> bytes:
    """The body of an export."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    for key, value in (resource or {}).items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    resource_spans.scope_spans.add().spans.extend(span.message() for span in spans)
    return message.SerializeToString()


def export(
    http: httpx.Client, experiment: str, body: bytes, *, kind: str = PROTOBUF, **headers: str
) -> httpx.Response:
    """Send a body; header names have underscores for hyphens."""
    return http.post(
        "/v1/traces",
        content=body,
        headers={
            "content-type": kind,
            "x-mlflow-experiment-id": experiment,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


def trace_id(span: Sent) -> str:
    """How MLflow calls the trace of a span."""
    return "tr-" + span.trace_id.hex()


def stored(http: httpx.Client, span: Sent) -> dict[str, object]:
    """The trace of a span as it is stored, its spans with it."""
    query = {"trace_id": trace_id(span), "allow_partial": "true"}
    answer = http.get("/api/3.0/mlflow/traces/get", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()["trace"]
    return found


def stored_info(http: httpx.Client, span: Sent) -> dict[str, object]:
    """The trace of a span without its spans."""
    found = stored(http, span)["trace_info"]
    assert isinstance(found, dict)
    return found


def stored_spans(http: httpx.Client, span: Sent) -> Sequence[dict[str, object]]:
    """The stored spans of a span's trace."""
    found = stored(http, span)["spans"]
    assert isinstance(found, list)
    return found
