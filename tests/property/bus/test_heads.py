"""The short way to the head of a record agrees with the long one, whatever the headers."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import UndecodableEvent
from headrace.events.envelope import Envelope, HeadReader, decode_record

NAMES = st.sampled_from(
    (
        *("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_sequence"),
        *("content-type", "ce_subject", "traceparent", "x", "CE_ID", "Ce_Type", "ce_\x00"),
    )
)
VALUES = st.one_of(
    st.sampled_from(
        (
            *(b"1.0", b"id-1", b"/source", b"a.b.v1", b"2001-01-01T00:00:00Z", b"yesterday"),
            *(b"application/json", b"application/cloudevents+json", b"APPLICATION/JSON", b""),
            *(b"\xff\xfe", b"a\x00b", b"x" * 1001, b"0" * 20),
        )
    ),
    st.none(),
    st.binary(max_size=8),
)
GOOD = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/s"),
    ("ce_type", b"t"),
    ("ce_time", b"2001-01-01T00:00:00Z"),
    ("content-type", b"application/json"),
)


@dataclass(frozen=True)
class Given:
    headers: tuple[tuple[str, bytes], ...]
    key: bytes | None
    value: bytes | None


HEADERS = st.builds(
    lambda kept, added, front: (*added, *kept) if front else (*kept, *added),
    st.lists(st.sampled_from(GOOD), unique=True).map(tuple) | st.just(GOOD),
    st.lists(st.tuples(NAMES, VALUES), max_size=3).map(tuple),
    st.booleans(),
)
RECORDS = st.builds(
    Given,
    HEADERS,
    st.sampled_from((None, b"", b"key", b"\xff", b"a\x00", b"k" * 1001)),
    st.sampled_from((None, b"", b"{}", b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}')),
)


@given(st.lists(RECORDS, max_size=4))
def test_every_record_reads_the_same_on_both_ways(records: list[Given]) -> None:
    reader = HeadReader()
    for record in records:
        assert _short(reader, record) == _long(record)


def _long(record: Given) -> object:
    try:
        envelope, data = decode_record(record.headers, record.key, record.value)
    except UndecodableEvent as error:
        return str(error)
    return envelope.id, envelope.type, envelope.source, envelope.sequence, _day(envelope), data


def _short(reader: HeadReader, record: Given) -> object:
    try:
        head = reader.read(record)
        envelope = head.envelope
    except UndecodableEvent as error:
        return str(error)
    sequence = None if head.sequence is None else head.sequence.decode()
    named = (head.type.decode(), head.source.decode())
    return envelope.id, *named, sequence, _day(envelope), head.data


def _day(envelope: Envelope) -> str:
    """Without a time an event is of now, so the year tells the two apart well enough."""
    return f"{envelope.time:%Y-%m}"
