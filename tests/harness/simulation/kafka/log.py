"""One partition: record batches at growing offsets, with gaps, cut at its beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

UNREADABLE: Final = "unreadable"
"""Header of a record that makes the client library raise while it unpacks the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A record before it has an offset."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A record batch: `after` is beyond its last record where records were compacted away."""

    after: int
    records: Sequence[ConsumerRecord]


@dataclass(slots=True)
class PartitionLog:
    """The log of one partition; `end` is the offset of the next record."""

    place: TopicPartition
    start: int = 0
    end: int = 0
    chunks: list[Chunk] = field(default_factory=list)

    def append(self, drafts: Sequence[Draft], *, milliseconds: int, gap: int = 0) -> None:
        """Add a batch that ends in a gap of `gap` offsets."""
        records = [
            _record(self.place, self.end + number, draft, milliseconds)
            for number, draft in enumerate(drafts)
        ]
        self.end += len(records) + gap
        self.chunks.append(Chunk(after=self.end, records=records))

    def cut(self, offset: int) -> None:
        """Give nothing before `offset` to readers any more, as retention does."""
        self.start = max(self.start, min(offset, self.end))

    def holds(self, position: int) -> bool:
        """Whether a reader may stand at this offset."""
        return self.start <= position <= self.end

    def read(self, position: int, *, chunks: int) -> list[Chunk]:
        """The next batches from a position inside the log on; the first may begin before it."""
        found = [chunk for chunk in self.chunks if chunk.after > position]
        return found[:chunks]

    def records(self) -> Iterator[ConsumerRecord]:
        """All that was ever appended."""
        for chunk in self.chunks:
            yield from chunk.records


def _record(place: TopicPartition, offset: int, draft: Draft, milliseconds: int) -> ConsumerRecord:
    return ConsumerRecord(
        topic=place.topic,
        partition=place.partition,
        offset=offset,
        timestamp=milliseconds,
        timestamp_type=0,
        key=draft.key,
        value=draft.value,
        checksum=None,
        serialized_key_size=-1 if draft.key is None else len(draft.key),
        serialized_value_size=-1 if draft.value is None else len(draft.value),
        headers=tuple(draft.headers),
    )
