"""Spans in requests and blocks: whatever comes, nothing is lost, doubled or raised as a defect."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.errors import InvalidInput
from services.tracking.domain.errors import NotSpans
from services.tracking.domain.traces import otlp
from services.tracking.domain.traces.blocks import pack, spans_of, without
from services.tracking.domain.traces.sketch import TraceSketch

Given = tuple[int, int, int, int, bool]
"""Trace, span, start and length in milliseconds, and whether it is a root."""

SPANS = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(1, 6), st.integers(0, 50), st.integers(0, 50), st.booleans()
    ),
    min_size=1,
    max_size=12,
)


def trace_bytes(number: int) -> bytes:
    return number.to_bytes(16, "big")


def trace_name(number: int) -> str:
    return "tr-" + trace_bytes(number).hex()


def message(given_span: Given) -> Span:
    trace, span, start, length, root = given_span
    return Span(
        trace_id=trace_bytes(trace),
        span_id=span.to_bytes(8, "big"),
        parent_span_id=b"" if root else b"p" * 8,
        name=f"{given_span}",
        start_time_unix_nano=start * 1_000_000,
        end_time_unix_nano=(start + length) * 1_000_000,
    )


def body(spans: Sequence[Given]) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(message(one) for one in spans)
    return request.SerializeToString()


def sketched(spans: Sequence[Given]) -> dict[str, TraceSketch]:
    traces = otlp.read(body(spans), otlp.PROTOBUF).sketches.traces
    return {one.trace_id: one for one in traces.values()}


@given(spans=SPANS, cuts=st.lists(st.integers(0, 12)))
def test_a_trace_is_the_same_however_its_spans_are_cut_into_requests(
    spans: list[Given], cuts: list[int]
) -> None:
    whole = sketched(spans)
    joined: dict[str, TraceSketch] = {}
    edges = [0, *sorted(cuts), len(spans)]
    for start, end in itertools.pairwise(edges):
        if spans[start:end]:
            for name, one in sketched(spans[start:end]).items():
                if name in joined:
                    joined[name].join(one)
                else:
                    joined[name] = one
    for name, one in whole.items():
        other = joined[name]
        assert (one.start, one.end, one.state) == (other.start, other.end, other.state)


@given(spans=SPANS, cut=st.integers(0, 12))
def test_blocks_give_back_each_span_once_as_it_came_last(spans: list[Given], cut: int) -> None:
    parts = [part for part in (spans[:cut], spans[cut:]) if part]
    blocks = [pack([body(part)]) for part in parts]
    assert spans_of(blocks, {trace_name(1)}) == spans_of(
        [pack(body(part) for part in parts)], {trace_name(1)}
    )
    last = {one[1]: one for one in spans if one[0] == 1}
    found = spans_of(blocks, {trace_name(1), "tr-none", "x"})
    assert set(found) <= {trace_name(1)}
    names = [span.name for span in found.get(trace_name(1), [])]
    assert sorted(names) == sorted(str(one) for one in last.values())


@given(spans=SPANS, gone=st.sets(st.integers(1, 3)))
def test_a_block_without_some_traces_has_all_of_the_others(
    spans: list[Given], gone: set[int]
) -> None:
    block = pack([body(spans)])
    left = without(block, [trace_name(number) for number in gone])
    kept = {one[0] for one in spans} - gone
    assert (left is None) == (not kept)
    names = {trace_name(number) for number in (1, 2, 3)}
    if left is not None:
        before = spans_of([block], names)
        wanted = {trace_name(number): before[trace_name(number)] for number in kept}
        assert spans_of([left], names) == wanted


@given(
    raw=st.binary(max_size=200),
    encoding=st.sampled_from(["gzip", "deflate", "identity"]),
    kind=st.sampled_from([otlp.PROTOBUF, otlp.JSON]),
)
def test_any_bytes_are_read_or_refused(raw: bytes, encoding: str, kind: otlp.Encoding) -> None:
    try:
        batch = otlp.read(otlp.uncompressed(raw, encoding), kind)
    except (InvalidInput, NotSpans):
        return
    assert ExportTraceServiceRequest.FromString(batch.body).resource_spans


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceSpans", "scopeSpans", "spans", "traceId", "attributes", "name"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(document=JSONS)
def test_any_json_is_read_or_refused(document: object) -> None:
    try:
        otlp.read(json.dumps(document).encode(), otlp.JSON)
    except (InvalidInput, NotSpans):
        return
    assert isinstance(document, dict)
