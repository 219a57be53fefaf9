"""CloudEvents 1.0 over Kafka: binary mode written, binary and structured mode read.

Source: CloudEvents Kafka protocol binding 1.0.2; correlation extension; W3C Trace Context.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol, TypeGuard

import orjson

from headrace.errors import UndecodableEvent

SPEC_VERSION: Final = "1.0"
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_RELAY_SOURCE = re.compile(rb"\A/[a-z]+/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/[0-9]+)?\Z")
_SEQUENCE_DIGITS: Final = 20
_PLAIN_TYPES: Final = frozenset({JSON.encode(), PROTOBUF.encode()})
LONGEST_ATTRIBUTE: Final = 1000
"""Bytes of an attribute or a key that readers take; a database can index as much."""

_REQUIRED: Final = ("id", "source", "type")

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """Everything a CloudEvent says besides its data.

    `source` + `id` identify the event; `sequence` is the relay's number, comparable as text
    within one source; `key` is the Kafka record key. Where the producer gave no time, `time` is
    when the record was read, and `timed` is False.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    sequence: str | None = None
    data_schema: str | None = None
    content_type: str = JSON
    traceparent: str | None = None
    tracestate: str | None = None
    timed: bool = True
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def relayed(self) -> bool:
        """Whether one of our relays published it: only then `sequence` guards against twins."""
        sequence = self.sequence
        numbered = is_relay_number(None if sequence is None else sequence.encode())
        return numbered and is_relay(self.source.encode())


_ATTRIBUTES: Final[Mapping[str, str]] = {
    "id": "id",
    "source": "source",
    "type": "type",
    "subject": "subject",
    "partitionkey": "key",
    "correlationid": "correlation_id",
    "causationid": "causation_id",
    "sequence": "sequence",
    "dataschema": "data_schema",
}


class Kept(Protocol):
    """What the head of an event is read from: a record as the Kafka client gives it."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...


class Head:
    """The envelope of a record in two steps: checked at once, made when somebody asks for it.

    Making an `Envelope` costs four times as much as checking that one can be made, and most
    events of a large batch are never asked. `id`, `type`, `source` and `sequence` are as on the
    wire; `time` is None where the producer gave none; `data` is the record's value, or what a
    structured event carries.
    """

    __slots__ = ("_envelope", "_record", "data", "id", "sequence", "source", "time", "type")

    def __init__(
        self,
        id: bytes,  # noqa: A002 - the attribute's name in CloudEvents
        type: bytes,  # noqa: A002 - likewise
        source: bytes,
        time: datetime | None,
        sequence: bytes | None,
        data: bytes,
        record: Kept | None,
        envelope: Envelope | None = None,
    ) -> None:
        self.id = id
        self.type = type
        self.source = source
        self.time = time
        self.sequence = sequence
        self.data = data
        self._record = record
        self._envelope = envelope

    @property
    def envelope(self) -> Envelope:
        """The whole envelope, made once."""
        if self._envelope is None and self._record is not None:
            record = self._record
            self._envelope, _ = decode_record(record.headers, record.key, record.value)
        if self._envelope is None:
            raise UndecodableEvent("a head without a record has no envelope")
        return self._envelope


class HeadReader:
    """Reads the heads of many records, which mostly have the same headers in the same order.

    The short way covers binary mode records whose headers are short, clean, lower-case text; what
    depends on their names is worked out once. Every other record takes the long way.
    """

    __slots__ = ("_layout", "_names")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._layout: _Layout | None = None

    def read(self, record: Kept) -> Head:
        """The head of a record. Raises UndecodableEvent exactly where `decode_record` does."""
        return self._plain(record) or _any_head(record)

    def _plain(self, record: Kept) -> Head | None:
        key = record.key
        try:
            names, values = zip(*record.headers, strict=True)
            if names != self._names:
                self._names, self._layout = names, _layout_of(names)
            layout = self._layout
            if layout is None or not layout.is_plain(values):
                return None
            time = datetime.fromisoformat(values[layout.time].decode())
            if key is not None and (len(key) > LONGEST_ATTRIBUTE or "\x00" in key.decode()):
                return None
        except (TypeError, ValueError):
            return None
        sequence = None if layout.sequence is None else values[layout.sequence]
        data = record.value or b""
        named = values[layout.id], values[layout.type], values[layout.source]
        return Head(*named, time, sequence, data, record)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Where each attribute stands among the headers."""

    version: int
    id: int
    source: int
    type: int
    time: int
    content_type: int
    sequence: int | None

    def is_plain(self, values: Sequence[bytes]) -> bool:
        """Whether all values, together and so each, are short clean text. Raises if one is not."""
        text = b"\n".join(values)
        if len(text) > LONGEST_ATTRIBUTE or b"\x00" in text or values[self.version] != b"1.0":
            return False
        text.decode()
        identified = values[self.id] and values[self.source] and values[self.type]
        return bool(identified) and values[self.content_type] in _PLAIN_TYPES


def _layout_of(names: tuple[str, ...]) -> _Layout | None:
    """None where names are not lower-case or stand twice: the long way knows what that means."""
    places = {name: place for place, name in enumerate(names)}
    if len(places) != len(names) or not "".join(names).islower():
        return None
    try:
        return _Layout(
            version=places["ce_specversion"],
            id=places["ce_id"],
            source=places["ce_source"],
            type=places["ce_type"],
            time=places["ce_time"],
            content_type=places["content-type"],
            sequence=places.get("ce_sequence"),
        )
    except KeyError:
        return None


def _any_head(record: Kept) -> Head:
    envelope, data = decode_record(record.headers, record.key, record.value)
    sequence = envelope.sequence
    return Head(
        envelope.id.encode(),
        envelope.type.encode(),
        envelope.source.encode(),
        envelope.time if envelope.timed else None,
        None if sequence is None else sequence.encode(),
        data,
        None,
        envelope,
    )


def is_relay(source: bytes) -> bool:
    """Whether one of our relays publishes under this source."""
    return _RELAY_SOURCE.match(source) is not None


def is_relay_number(sequence: bytes | None) -> TypeGuard[bytes]:
    """Whether it is a number as relays give them: comparable as text within their source."""
    return sequence is not None and len(sequence) == _SEQUENCE_DIGITS and sequence.isdigit()


def encode_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """Headers of a binary mode record: every attribute as UTF-8 `ce_<name>`."""
    headers = [
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_time", format_time(envelope.time).encode()),
        ("content-type", envelope.content_type.encode()),
    ]
    for attribute, name in _ATTRIBUTES.items():
        value = getattr(envelope, name)
        if value is not None:
            headers.append((f"ce_{attribute}", str(value).encode()))
    headers.extend((f"ce_{name}", text.encode()) for name, text in envelope.extensions.items())
    if envelope.traceparent:
        headers.append(("traceparent", envelope.traceparent.encode()))
    if envelope.tracestate:
        headers.append(("tracestate", envelope.tracestate.encode()))
    return headers


def decode_record(
    headers: Iterable[tuple[str, bytes | None]], key: bytes | None, value: bytes | None
) -> tuple[Envelope, bytes]:
    """Envelope and data bytes of one Kafka record.

    Raises UndecodableEvent naming the header or attribute that is missing or malformed.
    """
    texts = _texts(headers)
    content_type = texts.get("content-type", "")
    if content_type.lower().startswith("application/cloudevents"):
        return _decode_structured(key, value, texts)
    if texts.get("ce_specversion") != SPEC_VERSION:
        came = texts.get("ce_specversion")
        raise UndecodableEvent(f"header ce_specversion: expected '{SPEC_VERSION}', got {came!r}")
    attributes = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
    return _envelope(attributes, key, content_type or JSON, texts), value or b""


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, microseconds kept."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _texts(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, raw in headers:
        lower = name.lower()
        if raw is None or not (lower.startswith("ce_") or lower in _PLAIN_HEADERS):
            continue
        try:
            texts[lower] = _bounded(f"header {name}", raw.decode())
        except UnicodeDecodeError as error:
            raise UndecodableEvent(f"header {name}: not UTF-8 ({error.reason})") from error
    return texts


def _bounded(name: str, text: str) -> str:
    """The text if a database can keep it, in an index too: so the bound is of bytes."""
    if "\x00" in text:
        raise UndecodableEvent(f"{name}: contains a NUL")
    size = len(text.encode(errors="surrogatepass"))
    if size > LONGEST_ATTRIBUTE:
        raise UndecodableEvent(
            f"{name}: {size} bytes of UTF-8, at most {LONGEST_ATTRIBUTE} are taken"
        )
    return text


_PLAIN_HEADERS: Final = frozenset({"content-type", "traceparent", "tracestate"})


def _decode_structured(
    key: bytes | None, value: bytes | None, texts: Mapping[str, str]
) -> tuple[Envelope, bytes]:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise UndecodableEvent(f"structured event: body is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise UndecodableEvent("structured event: body is not a JSON object")
    if document.get("specversion") != SPEC_VERSION:
        came = document.get("specversion")
        raise UndecodableEvent(f"specversion: expected '{SPEC_VERSION}', got {came!r}")
    attributes = {
        str(name): _attribute(str(name), member)
        for name, member in document.items()
        if name not in {"data", "data_base64"} and member is not None
    }
    content_type = str(document.get("datacontenttype", JSON))
    return _envelope(attributes, key, content_type, texts), _structured_data(document)


def _attribute(name: str, member: object) -> str:
    """CloudEvents has no other types in JSON than these."""
    if not isinstance(member, str | bool | int):
        raise UndecodableEvent(f"attribute {name[:50]}: expected text, a number or a boolean")
    return _bounded(f"attribute {name[:50]}", str(member))


def _structured_data(document: Mapping[str, object]) -> bytes:
    encoded = document.get("data_base64")
    if encoded is not None:
        try:
            return base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
        except (binascii.Error, ValueError) as error:
            raise UndecodableEvent(f"data_base64: not base64 ({error})") from error
    try:
        return orjson.dumps(document.get("data"))
    except (TypeError, RecursionError) as error:
        raise UndecodableEvent(f"data: nested too deeply ({error})") from error


def _envelope(
    attributes: Mapping[str, str], key: bytes | None, content_type: str, texts: Mapping[str, str]
) -> Envelope:
    for name in _REQUIRED:
        if not attributes.get(name):
            raise UndecodableEvent(f"attribute {name}: missing or empty")
    traceparent = texts.get("traceparent") or attributes.get("traceparent")
    known = {*_ATTRIBUTES, "specversion", "time", "datacontenttype"}
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=_time(attributes.get("time")),
        subject=attributes.get("subject"),
        key=_key(key, attributes),
        correlation_id=attributes.get("correlationid"),
        causation_id=attributes.get("causationid"),
        sequence=attributes.get("sequence"),
        data_schema=attributes.get("dataschema"),
        content_type=content_type,
        traceparent=traceparent if traceparent and _TRACEPARENT.match(traceparent) else None,
        tracestate=texts.get("tracestate"),
        timed="time" in attributes,
        extensions={name: text for name, text in attributes.items() if name not in known},
    )


def _key(key: bytes | None, attributes: Mapping[str, str]) -> str | None:
    if key is None:
        return attributes.get("partitionkey")
    try:
        return _bounded("record key", key.decode())
    except UnicodeDecodeError as error:
        raise UndecodableEvent(f"record key: not UTF-8 ({error.reason})") from error


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UndecodableEvent(f"attribute time: not RFC 3339 ({text!r})") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
