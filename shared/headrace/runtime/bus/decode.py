"""From Kafka records to typed events, one by one, so that a broken one harms no other."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from aiokafka import ConsumerRecord

from headrace.events.contracts import Data, decode_data
from headrace.events.envelope import Envelope, decode_record
from headrace.runtime.bus.model import Event


def envelope_of(record: ConsumerRecord) -> tuple[Envelope, bytes]:
    """Envelope and data bytes. Raises UndecodableEvent."""
    return decode_record(record.headers, record.key, record.value)


def event_of(
    record: ConsumerRecord, envelope: Envelope, value: bytes, wanted: AbstractSet[str]
) -> Event[Data] | None:
    """The typed event, or None where nobody wants its type. Raises UndecodableEvent."""
    if envelope.type not in wanted:
        return None
    return Event(
        data=decode_data(envelope.type, value),
        envelope=envelope,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )
