"""What a partition batch says, read before its transaction begins.

Records are decoded one by one, so that a broken one harms no other; what was seen before from
the same relay is left out, and the numbers seen now are noted beside the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

from headrace.errors import Permanent, UndecodableEvent
from headrace.events.contracts import Contract, Data
from headrace.events.envelope import Head, head_of, is_relay, is_relay_number
from headrace.runtime.bus.model import Event
from headrace.runtime.bus.ports import Identity, Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Consecutive records of one partition: from offset `held` up to, not including, `after`."""

    place: TopicPartition
    held: int
    after: int
    records: Sequence[ConsumerRecord]


@dataclass(frozen=True, slots=True)
class Taken:
    """One record with its event; `foreign` identifies what no relay of ours numbered."""

    event: Event[Data]
    record: ConsumerRecord
    foreign: Identity | None


@dataclass(kw_only=True, slots=True)
class Reading:
    """A batch as events; `seen` are the relays' highest numbers after it."""

    seen: Mapping[bytes, bytes]
    taken: list[Taken] = field(default_factory=list)
    refused: list[tuple[ConsumerRecord, Permanent]] = field(default_factory=list)
    duplicates: int = 0


Wanted = Mapping[bytes, Contract[Data]]


def read_batch(batch: Batch, standing: Standing, wanted: Wanted) -> Reading:
    """Decode a batch; types that nobody wants are passed over."""
    seen = dict(standing.seen)
    reading = Reading(seen=seen)
    numbering: dict[bytes, bool] = {}
    for record in batch.records:
        try:
            head = head_of(record)
            source, sequence = head.source, head.sequence
            numbered = numbering.get(source)
            if numbered is None:
                numbered = numbering[source] = is_relay(source)
            if numbered and (numbered := is_relay_number(sequence)):
                if sequence <= seen.get(source, b""):
                    reading.duplicates += 1
                    continue
                seen[source] = sequence
            contract = wanted.get(head.type)
            if contract is not None:
                foreign = None if numbered else identity_of(head)
                event = _event(record, head, contract)
                reading.taken.append(Taken(event, record, foreign))
        except UndecodableEvent as error:
            reading.refused.append((record, error))
    return reading


def read_record(record: ConsumerRecord, wanted: Wanted) -> Event[Data] | None:
    """One record by itself, whatever was seen before. Raises UndecodableEvent."""
    head = head_of(record)
    contract = wanted.get(head.type)
    return None if contract is None else _event(record, head, contract)


def identity_of(head: Head) -> Identity:
    """By source and id, and the day of `ce_time`, which twins share."""
    envelope = head.envelope
    return Identity(source=envelope.source, id=envelope.id, day=envelope.time.date())


def _event(record: ConsumerRecord, head: Head, contract: Contract[Data]) -> Event[Data]:
    return Event(
        data=contract.decode(head.data),
        envelope=head,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )
