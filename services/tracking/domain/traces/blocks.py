"""Blocks: the spans of one group commit, as OTLP requests one after another, compressed.

Protobuf messages that are written one after another read as one message with all their spans,
so a block is made of request bodies without looking into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

_LEVEL: Final = 1
_COMPRESSOR: Final = zstandard.ZstdCompressor(level=_LEVEL)
_DECOMPRESSOR: Final = zstandard.ZstdDecompressor()


def pack(requests: Iterable[bytes]) -> bytes:
    """A block of serialized ExportTraceServiceRequests."""
    return _COMPRESSOR.compress(b"".join(requests))


def unpack(block: bytes) -> ExportTraceServiceRequest:
    """All spans of a block."""
    return ExportTraceServiceRequest.FromString(_DECOMPRESSOR.decompress(block))


def spans_of(blocks: Iterable[bytes], trace_ids: AbstractSet[str]) -> dict[str, list[Span]]:
    """The spans of some traces: the root first, then by start; of those sent again the last.

    `blocks` come in the order in which they were written. Traces without spans are left out.
    """
    wanted = {raw for trace_id in trace_ids if (raw := raw_id(trace_id)) is not None}
    found: dict[bytes, dict[bytes, Span]] = {}
    for block in blocks:
        for scope_spans in _scopes(unpack(block)):
            for span in scope_spans.spans:
                if span.trace_id in wanted:
                    found.setdefault(span.trace_id, {})[span.span_id] = span
    return {f"tr-{raw.hex()}": _in_order(spans.values()) for raw, spans in found.items()}


def without(block: bytes, trace_ids: Sequence[str]) -> bytes | None:
    """The block without the spans of some traces; None if nothing is left."""
    gone = {raw_id(trace_id) for trace_id in trace_ids}
    request = unpack(block)
    left = 0
    for scope_spans in _scopes(request):
        kept = [span for span in scope_spans.spans if span.trace_id not in gone]
        left += len(kept)
        if len(kept) < len(scope_spans.spans):
            copies = [Span.FromString(span.SerializeToString()) for span in kept]
            del scope_spans.spans[:]
            scope_spans.spans.extend(copies)
    return pack([request.SerializeToString()]) if left else None


def raw_id(trace_id: str) -> bytes | None:
    """OTLP's id of a trace, or None if no span can have it."""
    try:
        raw = bytes.fromhex(trace_id.removeprefix("tr-"))
    except ValueError:
        return None
    return raw if len(raw) == 16 else None


def _scopes(request: ExportTraceServiceRequest) -> Iterator[ScopeSpans]:
    for resource_spans in request.resource_spans:
        yield from resource_spans.scope_spans


def _in_order(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (bool(span.parent_span_id), span.start_time_unix_nano))
