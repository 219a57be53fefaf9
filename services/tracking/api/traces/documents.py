"""Traces, spans and assessments as MLflow's JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.tracking.api.documents import Document, number
from services.tracking.domain.traces.entities import Assessment, Trace
from services.tracking.domain.traces.times import duration, timestamp


def info_document(trace: Trace) -> Document:
    """`TraceInfoV3` of MLflow's API."""
    document: Document = {
        "trace_id": trace.trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": trace.experiment_id},
        },
        "request_time": timestamp(trace.request_time),
        "state": trace.state,
        "tags": trace.all_tags,
    }
    for name in ("client_request_id", "request_preview", "response_preview"):
        if getattr(trace, name) is not None:
            document[name] = getattr(trace, name)
    if trace.execution_duration is not None:
        document["execution_duration"] = duration(trace.execution_duration)
    if trace.metadata:
        document["trace_metadata"] = dict(trace.metadata)
    if trace.assessments:
        document["assessments"] = [assessment_document(one) for one in trace.assessments]
    return document


def trace_document(trace: Trace, spans: Iterable[Span]) -> Document:
    """`Trace` of MLflow's API."""
    return {"trace_info": info_document(trace), "spans": [span_document(span) for span in spans]}


def assessment_document(one: Assessment) -> Document:
    """`Assessment` of MLflow's API."""
    document: Document = {
        "assessment_id": one.assessment_id,
        "assessment_name": one.name,
        "trace_id": one.trace_id,
        "source": {"source_type": one.source_type, **_some("source_id", one.source_id)},
        "create_time": timestamp(one.create_time),
        "last_update_time": timestamp(one.last_update_time),
        one.kind: _value_document(one),
        "valid": one.valid,
    }
    for name in ("span_id", "rationale", "overrides"):
        document.update(_some(name, getattr(one, name)))
    if one.metadata:
        document["metadata"] = dict(one.metadata)
    return document


def span_document(span: Span) -> Document:
    """A span as protobuf's JSON, with snake_case names and numbers as numbers."""
    document: Document = {
        "trace_id": _base64(span.trace_id),
        "span_id": _base64(span.span_id),
        "name": span.name,
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "status": _status_document(span.status),
    }
    if span.parent_span_id:
        document["parent_span_id"] = _base64(span.parent_span_id)
    if span.trace_state:
        document["trace_state"] = span.trace_state
    if span.kind:
        document["kind"] = Span.SpanKind.Name(span.kind)
    if span.attributes:
        document["attributes"] = _attributes_document(span.attributes)
    if span.events:
        document["events"] = [
            {
                "time_unix_nano": event.time_unix_nano,
                "name": event.name,
                "attributes": _attributes_document(event.attributes),
            }
            for event in span.events
        ]
    if span.links:
        document["links"] = [
            {
                "trace_id": _base64(link.trace_id),
                "span_id": _base64(link.span_id),
                "attributes": _attributes_document(link.attributes),
            }
            for link in span.links
        ]
    return document


def _value_document(one: Assessment) -> Mapping[str, object]:
    if one.kind == "issue":
        return {"issue_name": one.value}
    error = {} if one.error is None else {"error": dict(one.error)}
    if one.kind == "expectation" and isinstance(one.value, (list, dict)):
        text = orjson.dumps(one.value).decode()
        return {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": text}}
    return {"value": one.value, **error}


def _status_document(status: Status) -> Document:
    document: Document = {"code": Status.StatusCode.Name(status.code)}
    return {**document, **_some("message", status.message or None)}


def _attributes_document(attributes: Iterable[KeyValue]) -> list[Document]:
    return [{"key": one.key, "value": _any_document(one.value)} for one in attributes]


def _any_document(value: AnyValue) -> Document:
    kind = value.WhichOneof("value")
    if kind is None:
        return {}
    if kind == "array_value":
        return {kind: {"values": [_any_document(item) for item in value.array_value.values]}}
    if kind == "kvlist_value":
        return {kind: {"values": _attributes_document(value.kvlist_value.values)}}
    if kind == "bytes_value":
        return {kind: _base64(value.bytes_value)}
    if kind == "double_value":
        return {kind: number(value.double_value)}
    return {kind: getattr(value, kind)}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _some(name: str, value: object) -> Document:
    return {} if value is None else {name: value}
