"""What a partition batch says, read before its transaction begins.

Records are decoded one by one, so that a broken one harms no other; what was seen before from
the same relay is left out, and the numbers seen now are noted beside the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

from headrace.errors import Permanent, UndecodableEvent
from headrace.events.contracts import Data
from headrace.events.envelope import Envelope, Head, HeadReader, is_relay, is_relay_number
from headrace.events.headers import VERBATIM_TYPE
from headrace.runtime.bus.model import Event, ForeignReader
from headrace.runtime.bus.ports import Identity, Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Consecutive records of one partition: from offset `held` up to, not including, `after`."""

    place: TopicPartition
    held: int
    after: int
    records: Sequence[ConsumerRecord]


class Taken(NamedTuple):
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


_NO_DAY: Final = date(1970, 1, 1)
Decoder = Callable[[bytes], Data]
Wanted = Mapping[bytes, Decoder]
"""What is handled, by `ce_type` as on the wire."""
Foreign = Mapping[str, ForeignReader]
"""Who reads the records of a topic that holds none of our events."""
_OURS: Final[Foreign] = {}


def read_batch(
    batch: Batch, standing: Standing, wanted: Wanted, foreign: Foreign = _OURS
) -> Reading:
    """Decode a batch; types that nobody wants are passed over."""
    reader = foreign.get(batch.place.topic)
    if reader is not None:
        return _read_foreign(batch, standing, reader)
    seen = dict(standing.seen)
    reading = Reading(seen=seen)
    read = HeadReader().read
    take, refuse = reading.taken.append, reading.refused.append
    numbering: dict[bytes, bool] = {}
    for record in batch.records:
        try:
            head = read(record)
            source, sequence = head.source, head.sequence
            numbered = numbering.get(source)
            if numbered is None:
                numbered = numbering[source] = is_relay(source)
            if numbered and (numbered := is_relay_number(sequence)):
                if sequence <= seen.get(source, b""):
                    reading.duplicates += 1
                    continue
                seen[source] = sequence
            decode = wanted.get(head.type)
            if decode is not None:
                event = _event(record, head, decode(head.data))
                take(Taken(event, record, None if numbered else identity_of(head)))
        except UndecodableEvent as error:
            refuse((record, error))
        except Exception as error:
            # Whatever a decoder trips over, one record must not stop its partition.
            refuse((record, UndecodableEvent(f"{type(error).__name__}: {error}")))
    return reading


def _read_foreign(batch: Batch, standing: Standing, reader: ForeignReader) -> Reading:
    """Each record counts, whatever it says: nothing tells twins of other protocols."""
    reading = Reading(seen=standing.seen)
    for record in batch.records:
        try:
            reading.taken.append(Taken(_foreign_event(record, reader(record)), record, None))
        except UndecodableEvent as error:
            reading.refused.append((record, error))
        except Exception as error:
            refused = UndecodableEvent(f"{type(error).__name__}: {error}")
            reading.refused.append((record, refused))
    return reading


def read_record(
    record: ConsumerRecord, wanted: Wanted, foreign: Foreign = _OURS
) -> Event[Data] | None:
    """One record by itself, whatever was seen before. Raises UndecodableEvent."""
    reader = foreign.get(record.topic)
    if reader is not None:
        return _foreign_event(record, reader(record))
    head = HeadReader().read(record)
    decode = wanted.get(head.type)
    return None if decode is None else _event(record, head, decode(head.data))


def identity_of(head: Head) -> Identity:
    """By source and id, and the day of `ce_time`, which twins share; one day for all without."""
    day = _NO_DAY if head.time is None else head.time.date()
    return Identity(source=head.source.decode(), id=head.id.decode(), day=day)


def _event(record: ConsumerRecord, head: Head, data: Data) -> Event[Data]:
    return Event(data, head, record.topic, record.partition, record.offset, record)


def _foreign_event(record: ConsumerRecord, data: Data) -> Event[Data]:
    """Named by its place in the log, which no other record has."""
    envelope = Envelope(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        source=record.topic,
        type=VERBATIM_TYPE,
        time=datetime.fromtimestamp(max(0, record.timestamp) / 1000, UTC),
    )
    return Event(data, envelope, record.topic, record.partition, record.offset, record)
