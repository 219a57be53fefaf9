"""What spans say of their traces: all that a search without spans needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.tracking.domain.traces.entities import (
    NAME_TAG,
    SESSION_METADATA,
    USER_METADATA,
    TraceState,
)
from services.tracking.domain.traces.values import plain, preview, printable

MAX_TAG_KEY: Final = 250
MAX_TAG_VALUE: Final = 4096
MAX_NAME: Final = 1000
_INPUTS: Final = "mlflow.spanInputs"
_OUTPUTS: Final = "mlflow.spanOutputs"
_TAG_PREFIX: Final = "mlflow.traceTag."
_SESSION_KEYS: Final = frozenset({"session.id", "gen_ai.conversation.id"})
_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)
_MILLISECOND: Final = 1_000_000


@dataclass(kw_only=True, slots=True)
class TraceSketch:
    """A trace as far as the spans of one request tell; nanoseconds since the epoch.

    `state` is that of the root span, or None as long as the root has not come.
    """

    trace_id: str
    start: int
    end: int
    state: TraceState | None = None
    name: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def request_time(self) -> int:
        """Milliseconds since the epoch."""
        return self.start // _MILLISECOND

    @property
    def execution_duration(self) -> int | None:
        """Milliseconds, or None if no span has ended."""
        if not self.end:
            return None
        return max(self.end // _MILLISECOND - self.start // _MILLISECOND, 0)

    def join(self, later: TraceSketch) -> None:
        """Add what a later request tells."""
        self.start = min(self.start, later.start)
        self.end = max(self.end, later.end)
        self.state = self.state or later.state
        self.name = self.name or later.name
        self.request_preview = self.request_preview or later.request_preview
        self.response_preview = self.response_preview or later.response_preview
        self.metadata = {**later.metadata, **self.metadata}
        self.tags = {**later.tags, **self.tags}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketches:
    """The traces of a request, and what is wrong with the spans that were left out."""

    traces: Mapping[bytes, TraceSketch]
    refused: int
    reason: str


def sketch(request: ExportTraceServiceRequest) -> Sketches:
    """Look through a request; spans without proper ids are removed from it."""
    traces: dict[bytes, TraceSketch] = {}
    refused, reason = 0, ""
    for resource_spans in request.resource_spans:
        tags = _resource_tags(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            bad: list[int] = []
            for place, span in enumerate(scope_spans.spans):
                trouble = _add(traces, span, tags)
                if trouble is not None:
                    bad.append(place)
                    reason = reason or trouble
            for place in reversed(bad):
                del scope_spans.spans[place]
            refused += len(bad)
    return Sketches(traces=traces, refused=refused, reason=reason)


def _add(traces: dict[bytes, TraceSketch], span: Span, tags: Mapping[str, str]) -> str | None:
    """Add a span to its trace; returns what is wrong with it, if anything."""
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return _id_trouble(span)
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    known = traces.get(trace_id)
    if known is None:
        known = TraceSketch(trace_id="tr-" + trace_id.hex(), start=start, end=end)
        if tags:
            known.tags.update(tags)
        traces[trace_id] = known
    else:
        known.start = min(known.start, start)
        known.end = max(known.end, end)
    root = not span.parent_span_id
    if root:
        known.name = printable(span.name)[:MAX_NAME]
        known.state = "ERROR" if span.status.code == Status.STATUS_CODE_ERROR else "OK"
    _look_at_attributes(known, span, root=root)
    return None


def _look_at_attributes(known: TraceSketch, span: Span, *, root: bool) -> None:
    for attribute in span.attributes:
        key = attribute.key
        if root and key == _INPUTS:
            known.request_preview = preview(attribute.value)
        elif root and key == _OUTPUTS:
            known.response_preview = preview(attribute.value)
        elif root and key.startswith(_TAG_PREFIX):
            _add_tag(known, key[len(_TAG_PREFIX) :], _text(plain(attribute.value)))
        elif key in _SESSION_KEYS:
            session = _text(plain(attribute.value))[:MAX_TAG_VALUE]
            known.metadata.setdefault(SESSION_METADATA, session)
        elif key == "user.id":
            user = _text(plain(attribute.value))[:MAX_TAG_VALUE]
            known.metadata.setdefault(USER_METADATA, user)


def _add_tag(known: TraceSketch, key: str, value: str) -> None:
    if key == NAME_TAG:
        known.name = value[:MAX_NAME]
    elif 0 < len(key) <= MAX_TAG_KEY:
        known.tags[printable(key)] = value[:MAX_TAG_VALUE]


def _resource_tags(resource: Resource) -> dict[str, str]:
    """What a trace's producer says of itself, without what MLflow and the SDK keep there."""
    return {
        printable(attribute.key): _text(plain(attribute.value))[:MAX_TAG_VALUE]
        for attribute in resource.attributes
        if 0 < len(attribute.key) <= MAX_TAG_KEY
        and not attribute.key.startswith(("telemetry.sdk.", "mlflow."))
    }


def _text(value: object) -> str:
    """A tag's value: MLflow's client may have written a text as JSON."""
    if isinstance(value, str):
        if len(value) > 1 and value[0] == value[-1] == '"':
            try:
                decoded = orjson.loads(value)
            except orjson.JSONDecodeError:
                return printable(value)
            return printable(decoded) if isinstance(decoded, str) else printable(value)
        return printable(value)
    return printable(orjson.dumps(value, default=str).decode())


def _id_trouble(span: Span) -> str:
    for name, given, length in (
        ("trace_id", span.trace_id, 16),
        ("span_id", span.span_id, 8),
    ):
        if len(given) != length:
            return f"{name}: expected {length} bytes, got {len(given)} (span {span.name[:100]!r})"
        if given == bytes(length):
            return f"{name}: must not be all zeros (span {span.name[:100]!r})"
    return "the span has no proper ids"
