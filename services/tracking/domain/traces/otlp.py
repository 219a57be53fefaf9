"""OTLP over HTTP: request bodies in, responses out, both encodings (OTLP specification 1.5)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.errors import InvalidInput
from services.tracking.domain.errors import NotSpans, UnsupportedEncoding
from services.tracking.domain.traces.sketch import Sketches, sketch

Encoding = Literal["application/x-protobuf", "application/json"]
PROTOBUF: Final[Encoding] = "application/x-protobuf"
JSON: Final[Encoding] = "application/json"
MAX_BYTES: Final = 32 * 1024 * 1024
_ID_FIELDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_NESTED: Final = (
    "resourceSpans",
    "resource_spans",
    "scopeSpans",
    "scope_spans",
    "spans",
    "links",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanBatch:
    """The spans of one request: their bytes as a protobuf request, and what they say.

    `digest` is the same for the same bytes: it tells a request that comes again.
    """

    body: bytes
    digest: int
    sketches: Sketches

    @property
    def first_trace(self) -> str:
        """Where to look for whether the request came before."""
        return next(iter(self.sketches.traces.values())).trace_id


def encoding_of(content_type: str | None) -> Encoding:
    """The encoding that a Content-Type names. Raises UnsupportedEncoding."""
    media_type = (content_type or "").split(";")[0].strip().lower()
    if media_type == PROTOBUF:
        return PROTOBUF
    if media_type == JSON:
        return JSON
    raise UnsupportedEncoding(
        f"Invalid Content-Type: {content_type}. Expected: {PROTOBUF} or {JSON}"
    )


def uncompressed(body: bytes, content_encoding: str | None) -> bytes:
    """The body as it was before gzip or deflate. Raises InvalidInput if it is more than 32 MiB."""
    name = (content_encoding or "identity").strip().lower()
    if name == "identity":
        return _bounded(body)
    if name == "gzip":
        return _inflated(body, name, lambda: zlib.decompressobj(zlib.MAX_WBITS | 16))
    if name == "deflate":
        # RFC 9110 means zlib's format, some clients send the bare stream.
        wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        bits = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
        return _inflated(body, name, lambda: zlib.decompressobj(bits))
    raise UnsupportedEncoding(
        f"Unsupported Content-Encoding: {content_encoding}. Expected: gzip or deflate"
    )


def read(body: bytes, encoding: Encoding) -> SpanBatch:
    """The spans of an uncompressed request.

    Raises InvalidInput if it is not an ExportTraceServiceRequest or holds nothing, NotSpans if
    none of its spans has proper ids.
    """
    request = _parsed_json(body) if encoding == JSON else _parsed_protobuf(body)
    if not request.resource_spans:
        raise InvalidInput("Invalid OpenTelemetry format - no spans found", field="resource_spans")
    found = sketch(request)
    if found.refused and not found.traces:
        raise NotSpans(f"Cannot convert OpenTelemetry span to MLflow span: {found.reason}")
    if found.refused or encoding == JSON:
        body = request.SerializeToString()
    digest = hashlib.blake2b(body, digest_size=8).digest()
    return SpanBatch(body=body, digest=int.from_bytes(digest, "big", signed=True), sketches=found)


def response(sketches: Sketches, encoding: Encoding) -> bytes:
    """The answer to a request that was taken in: what was left out, if anything."""
    if encoding == JSON:
        return orjson.dumps(_partial_success(sketches) if sketches.refused else {})
    message = ExportTraceServiceResponse()
    if sketches.refused:
        message.partial_success.rejected_spans = sketches.refused
        message.partial_success.error_message = sketches.reason
    return message.SerializeToString()


def _partial_success(sketches: Sketches) -> dict[str, object]:
    rejected = {"rejectedSpans": str(sketches.refused), "errorMessage": sketches.reason}
    return {"partialSuccess": rejected}


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        raise InvalidInput(
            f"The spans are more than {MAX_BYTES} bytes. Send fewer or smaller ones in a request.",
            field="body",
        )
    return body


def _inflated(body: bytes, name: str, start: Callable[[], zlib._Decompress]) -> bytes:
    """All members of a compressed stream, never more than the bound and one byte."""
    parts: list[bytes] = []
    size = 0
    try:
        while body:
            stream = start()
            parts.append(stream.decompress(body, MAX_BYTES + 1 - size))
            size += len(parts[-1])
            if size > MAX_BYTES:
                break
            if not stream.eof:
                raise InvalidInput(f"The {name} payload is cut off.", field="body")
            body = stream.unused_data if name == "gzip" else b""
    except zlib.error as error:
        raise InvalidInput(f"Failed to decompress {name} payload: {error}", field="body") from error
    return _bounded(b"".join(parts))


def _parsed_protobuf(body: bytes) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidInput(f"Invalid OpenTelemetry format: {error}", field="body") from error
    return request


def _parsed_json(body: bytes) -> ExportTraceServiceRequest:
    try:
        document = orjson.loads(body)
        _hex_to_base64(document)
        request: ExportTraceServiceRequest = ParseDict(
            document, ExportTraceServiceRequest(), ignore_unknown_fields=True
        )
    except (orjson.JSONDecodeError, ParseError, ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(f"Invalid OpenTelemetry format: {error}", field="body") from error
    return request


def _hex_to_base64(node: object) -> None:
    """Ids are hexadecimal in OTLP's JSON, base64 in protobuf's; attributes are left alone."""
    if isinstance(node, list):
        for item in node:
            _hex_to_base64(item)
    elif isinstance(node, dict):
        for name in _ID_FIELDS:
            given = node.get(name)
            if isinstance(given, str):
                node[name] = _base64(name, given)
        for name in _NESTED:
            _hex_to_base64(node.get(name))


def _base64(name: str, text: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(
            f"{name}: expected hexadecimal digits, got {text[:100]!r}", field=name
        ) from error
