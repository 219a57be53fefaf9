"""CloudEvents on Kafka, written in binary mode and read in both."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import UndecodableEvent
from headrace.events import Envelope, decode_record, encode_headers

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@given(identity=TEXT, source=TEXT, subject=TEXT, correlation=TEXT, value=st.binary(max_size=100))
def test_what_is_encoded_is_decoded(
    identity: str, source: str, subject: str, correlation: str, value: bytes
) -> None:
    envelope = Envelope(
        id=identity,
        source=source,
        type="headrace.test.Something.v1",
        time=NOW,
        subject=subject,
        key="k",
        correlation_id=correlation,
        sequence=f"{7:020d}",
    )

    decoded, data = decode_record(encode_headers(envelope), b"k", value)

    assert (decoded, data) == (envelope, value)


def test_structured_mode_is_read_whatever_the_case_of_its_content_type() -> None:
    body = (
        b'{"specversion":"1.0","id":"1","source":"/s","type":"t","correlationid":"c",'
        b'"time":"2026-01-02T03:04:05Z","data":{"a":1}}'
    )

    envelope, data = decode_record(
        [("Content-Type", b"Application/CloudEvents+json; charset=utf-8")], b"key", body
    )

    assert (envelope.id, envelope.correlation_id, envelope.key) == ("1", "c", "key")
    assert data == b'{"a":1}'


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ([], b"{}", "ce_specversion"),
        ([("ce_specversion", b"0.3")], b"{}", "expected '1.0', got '0.3'"),
        ([("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", b"t")], b"", "source"),
        ([("ce_specversion", b"1.0"), ("ce_id", b"\xff")], b"", "header ce_id: not UTF-8"),
        ([("content-type", b"application/cloudevents+json")], b"[", "not JSON"),
        ([("content-type", b"application/cloudevents+json")], b"[]", "not a JSON object"),
        (
            [("content-type", b"application/cloudevents+json")],
            b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"*"}',
            "data_base64",
        ),
        (
            [
                ("ce_specversion", b"1.0"),
                ("ce_id", b"1"),
                ("ce_source", b"s"),
                ("ce_type", b"t"),
                ("ce_time", b"yesterday"),
            ],
            b"",
            "attribute time",
        ),
    ],
)
def test_a_broken_record_is_refused_with_the_name_of_what_is_wrong(
    headers: list[tuple[str, bytes]], value: bytes, reason: str
) -> None:
    with pytest.raises(UndecodableEvent, match=reason):
        decode_record(headers, b"k", value)


@given(
    headers=st.lists(
        st.tuples(st.sampled_from(["ce_id", "ce_type", "content-type", "x"]), st.binary())
    ),
    value=st.binary(max_size=50),
)
def test_garbage_is_always_refused_and_never_crashes(
    headers: list[tuple[str, bytes]], value: bytes
) -> None:
    with pytest.raises(UndecodableEvent):
        decode_record(headers, None, value)


def test_the_public_sdk_reads_our_records() -> None:
    envelope = Envelope(
        id="42", source="/registry/x", type="headrace.registry.ModelPromoted.v1", time=NOW, key="m"
    )

    event = from_kafka_event(
        KafkaMessage(headers=dict(encode_headers(envelope)), key=b"m", value=b'{"model":"m"}')
    )

    assert (event.get_id(), event.get_source()) == ("42", "/registry/x")
    assert event.get_type() == envelope.type
    assert event.get_data() == {"model": "m"}
