"""Spans by OTLP: from official exporters, in any order, in any shape, also a hostile one."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from uuid import uuid4

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.types import AttributeValue

from tests.component.tracking.otlp import (
    Sent,
    export,
    request,
    stored_info,
    stored_spans,
    trace_id,
)
from tests.component.tracking.process import TrackingProcess


@pytest.mark.parametrize("compression", list(Compression))
def test_the_official_exporter_is_understood(
    tracking: TrackingProcess, client: MlflowClient, experiment: str, compression: Compression
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "mill"}))
    exporter = OTLPSpanExporter(
        endpoint=f"{tracking.url}/v1/traces",
        headers={"x-mlflow-experiment-id": experiment},
        compression=compression,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    attributes: dict[str, AttributeValue] = {"session.id": "s-9", "n": 1}
    with (
        tracer.start_as_current_span("outer", attributes=attributes) as outer,
        tracer.start_as_current_span("inner"),
    ):
        pass
    assert provider.force_flush()
    provider.shutdown()
    (found,) = client.search_traces(locations=[experiment])
    assert found.info.trace_id == f"tr-{outer.get_span_context().trace_id:032x}"
    assert found.info.state == "OK"
    assert found.info.tags["mlflow.traceName"] == "outer"
    assert found.info.tags["service.name"] == "mill"
    assert found.info.trace_metadata["mlflow.trace.session"] == "s-9"
    assert [span.name for span in found.data.spans] == ["outer", "inner"]
    assert found.data.spans[0].attributes["n"] == 1


def test_spans_in_json_have_hexadecimal_ids(http: httpx.Client, experiment: str) -> None:
    sent = Sent(name="from json")
    span = {
        "traceId": sent.trace_id.hex(),
        "spanId": sent.span_id.hex().upper(),
        "name": sent.name,
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "3000000000",
        "attributes": [{"key": "traceId", "value": {"stringValue": "just text"}}],
        "status": {"code": 2},
        "new": "unknown fields are passed over",
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    answer = export(http, experiment, body, kind="application/json; charset=utf-8")
    assert answer.status_code == 200
    assert answer.json() == {}
    assert answer.headers["content-type"] == "application/json"
    assert stored_info(http, sent)["state"] == "ERROR"
    (found,) = stored_spans(http, sent)
    assert found["attributes"] == [{"key": "traceId", "value": {"string_value": "just text"}}]


def test_an_answer_to_protobuf_is_protobuf(http: httpx.Client, experiment: str) -> None:
    answer = export(http, experiment, request(Sent()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()


@pytest.mark.parametrize("kind", ["Application/X-Protobuf", "application/x-protobuf; v=1"])
def test_protobuf_may_be_spelled_otherwise(http: httpx.Client, experiment: str, kind: str) -> None:
    sent = Sent()
    answer = export(http, experiment, request(sent), kind=kind)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert len(stored_spans(http, sent)) == 1


def test_an_answer_names_the_chain_that_the_exporter_named(
    http: httpx.Client, experiment: str
) -> None:
    answer = export(http, experiment, request(Sent()), x_correlation_id="mill-7")
    assert answer.headers["x-correlation-id"] == "mill-7"


def test_of_two_experiment_headers_the_first_counts(http: httpx.Client, experiment: str) -> None:
    name = "x-mlflow-experiment-id"
    headers = [("content-type", "application/x-protobuf"), (name, experiment), (name, "999999999")]
    answer = http.post("/v1/traces", content=request(Sent()), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "two gzip members"])
def test_compressed_spans_are_read(http: httpx.Client, experiment: str, name: str) -> None:
    sent = Sent()
    body = request(sent)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    squeezed = {
        "gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw deflate": raw.compress(body) + raw.flush(),
        "two gzip members": gzip.compress(body[:20]) + gzip.compress(body[20:]),
    }[name]
    encoding = "deflate" if "deflate" in name else "gzip"
    assert export(http, experiment, squeezed, content_encoding=encoding).status_code == 200
    assert len(stored_spans(http, sent)) == 1


def test_spans_of_one_trace_may_come_apart_and_in_any_order(
    http: httpx.Client, experiment: str
) -> None:
    root = Sent(name="root", start=10, end=20, attributes={"mlflow.spanInputs": "in"})
    early = Sent(trace_id=root.trace_id, parent=root.span_id, name="early", start=5, end=11)
    late = Sent(trace_id=root.trace_id, parent=root.span_id, name="late", start=15, end=30)
    assert export(http, experiment, request(late)).status_code == 200
    info = stored_info(http, root)
    assert (info["state"], info["execution_duration"]) == ("IN_PROGRESS", "15.000s")
    for sent in (root, early):
        assert export(http, experiment, request(sent)).status_code == 200
    info = stored_info(http, root)
    assert (info["state"], info["request_preview"]) == ("OK", "in")
    assert (info["request_time"], info["execution_duration"]) == (
        "1970-01-01T00:00:05.000Z",
        "25.000s",
    )
    assert [span["name"] for span in stored_spans(http, root)] == ["root", "early", "late"]


def test_what_the_client_said_of_a_trace_is_not_changed_by_late_spans(
    http: httpx.Client, experiment: str
) -> None:
    root = Sent(name="root", start=10, end=20)
    location = {"mlflow_experiment": {"experiment_id": experiment}}
    info = {
        "trace_id": trace_id(root),
        "trace_location": location,
        "request_time": "1970-01-01T00:00:11Z",
        "execution_duration": "3s",
        "state": "OK",
        "tags": {"mlflow.traceName": "mine"},
    }
    body = {"trace": {"trace_info": info}}
    assert http.post("/api/3.0/mlflow/traces", json=body).status_code == 200
    assert export(http, experiment, request(root)).status_code == 200
    found = stored_info(http, root)
    assert found["request_time"] == "1970-01-01T00:00:11.000Z"
    assert found["execution_duration"] == "3.000s"
    tags = found["tags"]
    assert isinstance(tags, dict)
    assert tags["mlflow.traceName"] == "mine"


def test_spans_that_come_again_change_nothing(http: httpx.Client, experiment: str) -> None:
    sent = Sent()
    body = request(sent, Sent(trace_id=sent.trace_id, parent=sent.span_id))
    for _ in range(3):
        assert export(http, experiment, body).status_code == 200
    assert len(stored_spans(http, sent)) == 2


def test_a_span_that_comes_again_changed_is_the_later_one(
    http: httpx.Client, experiment: str
) -> None:
    sent = Sent(name="first")
    again = Sent(trace_id=sent.trace_id, span_id=sent.span_id, name="second")
    for one in (sent, again):
        assert export(http, experiment, request(one)).status_code == 200
    assert [span["name"] for span in stored_spans(http, sent)] == ["second"]


def test_deleted_spans_do_not_come_back_with_their_neighbours(
    http: httpx.Client, experiment: str
) -> None:
    kept, gone = Sent(name="kept"), Sent(name="gone")
    body = request(kept, gone)
    assert export(http, experiment, body).status_code == 200
    fields = {"experiment_id": experiment, "request_ids": [trace_id(gone)]}
    deleted = http.post("/api/2.0/mlflow/traces/delete-traces", json=fields)
    assert deleted.json() == {"traces_deleted": 1}
    assert [span["name"] for span in stored_spans(http, kept)] == ["kept"]
    assert export(http, experiment, request(gone)).status_code == 200
    assert [span["name"] for span in stored_spans(http, gone)] == ["gone"]


def test_traces_go_to_the_run_that_the_header_names(
    client: MlflowClient, http: httpx.Client, experiment: str
) -> None:
    run_id = client.create_run(experiment).info.run_id
    sent = Sent()
    answer = export(http, experiment, request(sent), x_mlflow_run_id=run_id)
    assert answer.status_code == 200
    found = client.search_traces(locations=[experiment], run_id=run_id)
    assert [one.info.trace_id for one in found] == [trace_id(sent)]


def test_tags_and_users_come_from_attributes_of_the_root(
    http: httpx.Client, experiment: str
) -> None:
    attributes = {"mlflow.traceTag.team": '"red"', "user.id": "ada", "mlflow.spanOutputs": "out"}
    sent = Sent(attributes=attributes)
    resource = {"service.name": "mill", "telemetry.sdk.name": "x", "mlflow.trace.x": "y"}
    assert export(http, experiment, request(sent, resource=resource)).status_code == 200
    info = stored_info(http, sent)
    tags, metadata = info["tags"], info["trace_metadata"]
    assert isinstance(tags, dict)
    assert {name: tags.get(name) for name in ("team", "service.name")} == {
        "team": "red",
        "service.name": "mill",
    }
    assert not {"telemetry.sdk.name", "mlflow.trace.x"} & set(tags)
    assert metadata == {"mlflow.trace.user": "ada"}
    assert info["response_preview"] == "out"


def test_spans_without_proper_ids_are_left_out_and_counted(
    http: httpx.Client, experiment: str
) -> None:
    good = Sent()
    bad = Sent(trace_id=b"short", name="bad")
    answer = export(http, experiment, request(bad, good, Sent(span_id=bytes(8))))
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 2
    assert partial.error_message == "trace_id: expected 16 bytes, got 5 (span 'bad')"
    assert len(stored_spans(http, good)) == 1


def test_text_that_postgresql_cannot_hold_is_kept_in_the_span(
    http: httpx.Client, experiment: str
) -> None:
    sent = Sent(name="a\0b", attributes={"mlflow.spanInputs": "x\0y", "session.id": "s\0"})
    neighbour = Sent()
    assert export(http, experiment, request(sent, neighbour)).status_code == 200
    (found,) = stored_spans(http, sent)
    assert found["name"] == "a\0b"
    assert stored_info(http, sent)["request_preview"] == "x\ufffdy"


def bomb() -> bytes:
    """33 MiB in 33 KiB."""
    return gzip.compress(bytes(33 * 1024 * 1024))


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "status", "part"),
    [
        (b"\xff" * 50, "application/x-protobuf", "", 400, "Invalid OpenTelemetry format"),
        (b"", "application/x-protobuf", "", 400, "no spans found"),
        (b"{", "application/json", "", 400, "Invalid OpenTelemetry format"),
        (b"[]", "application/json", "", 400, "Invalid OpenTelemetry format"),
        (b"{}", "application/json", "", 400, "no spans found"),
        (request(Sent()), "text/plain", "", 415, "Content-Type: text/plain"),
        (request(Sent()), "application/x-protobuf", "br", 415, "Content-Encoding: br"),
        (b"no gzip", "application/x-protobuf", "gzip", 400, "decompress gzip"),
        (gzip.compress(b"abc")[:-4], "application/x-protobuf", "gzip", 400, "cut off"),
        (b"no deflate", "application/x-protobuf", "deflate", 400, "deflate"),
        (bomb(), "application/x-protobuf", "gzip", 400, "more than 33554432 bytes"),
        (request(Sent(trace_id=b"x")), "application/x-protobuf", "", 422, "expected 16 bytes"),
        (request(Sent(span_id=b"")), "application/x-protobuf", "", 422, "span_id"),
        (request(Sent(trace_id=bytes(16))), "application/x-protobuf", "", 422, "all zeros"),
    ],
)
def test_what_is_no_export_is_refused_by_name(
    http: httpx.Client,
    experiment: str,
    body: bytes,
    kind: str,
    encoding: str,
    status: int,
    part: str,
) -> None:
    headers = {"content_encoding": encoding} if encoding else {}
    answer = export(http, experiment, body, kind=kind, **headers)
    assert answer.status_code == status
    assert part in answer.json()["message"]


def test_hexadecimal_ids_in_json_that_are_none_are_named(
    http: httpx.Client, experiment: str
) -> None:
    spans = [{"traceId": "xyz", "spanId": "00"}]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answer = export(http, experiment, body, kind="application/json")
    assert answer.status_code == 400
    assert answer.json()["message"] == "traceId: expected hexadecimal digits, got 'xyz'"


def test_the_experiment_must_be_named_and_be_there_and_active(
    client: MlflowClient, http: httpx.Client
) -> None:
    body = request(Sent())
    unnamed = http.post(
        "/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}
    )
    assert unnamed.status_code == 422
    assert "x-mlflow-experiment-id" in unnamed.json()["message"]
    assert export(http, "abc", body).status_code == 400
    missing = export(http, "999999999", body)
    assert missing.status_code == 404
    assert missing.json()["message"] == "No Experiment with id=999999999 exists"
    deleted = client.create_experiment(f"deleted {uuid4()}")
    client.delete_experiment(deleted)
    refused = export(http, deleted, body)
    assert refused.status_code == 400
    assert "must be in the 'active' state" in refused.json()["message"]


def test_a_bad_experiment_does_not_hurt_others_in_the_same_group(
    tracking: TrackingProcess, experiment: str
) -> None:
    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(base_url=tracking.url, timeout=20) as http:
            headers = {"content-type": "application/x-protobuf"}
            calls = [
                http.post(
                    "/v1/traces",
                    content=request(Sent()),
                    headers={**headers, "x-mlflow-experiment-id": one},
                )
                for one in [experiment, "999999999"] * 10
            ]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert asyncio.run(all_at_once()) == [200, 404] * 10


def test_a_huge_attribute_is_kept_whole_and_its_preview_is_short(
    http: httpx.Client, experiment: str
) -> None:
    sent = Sent(attributes={"mlflow.spanInputs": "x" * 2_000_000})
    assert export(http, experiment, request(sent)).status_code == 200
    preview = stored_info(http, sent)["request_preview"]
    assert isinstance(preview, str)
    assert len(preview) == 1000
    trace = mlflow.get_trace(trace_id(sent))
    assert trace is not None
    assert trace.data.spans[0].inputs == "x" * 2_000_000
