"""Records on their way to Kafka: built per partition, sent as whole batches.

One `create_batch` a partition instead of one `send` a record is about four times faster with
aiokafka, and it keeps the order of the records of one key.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
"""Largest value of a record; what is larger belongs into the blob store."""

_MAX_CACHED_KEYS: Final = 100_000
_BATCH_BYTES: Final = 1024 * 1024
"""A batch is closed at this size; a single larger record makes a batch of its own."""


@dataclass(kw_only=True, slots=True)
class Record:
    """One Kafka record before it has a place; without a value it is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def durable_producer(kafka: str, *, client_id: str) -> AIOKafkaProducer:
    """An idempotent producer that calls a record sent once all replicas have it."""
    return AIOKafkaProducer(
        bootstrap_servers=kafka,
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=MAX_RECORD_BYTES + _BATCH_BYTES,
        max_request_size=8 * 1024 * 1024,
        compression_type="zstd",
        request_timeout_ms=30_000,
    )


@dataclass(slots=True)
class RecordSender:
    """Sends records through a started producer; remembers which partition a key belongs to."""

    producer: AIOKafkaProducer
    _partitioner: DefaultPartitioner = field(default_factory=DefaultPartitioner)
    _places: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _partitions: dict[str, list[int]] = field(default_factory=dict)

    async def send(self, records: Sequence[Record]) -> None:
        """Return when every record is acknowledged. Raises the broker's error otherwise.

        Records of one key arrive in the order given.
        """
        groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            key = record.key
            place = None if key is None else self._places.get((record.topic, key))
            if place is None:
                place = await self.partition_of(record.topic, key)
            groups[record.topic, place].append(record)
        await asyncio.gather(
            *(self.send_to(topic, place, group) for (topic, place), group in groups.items())
        )

    async def send_to(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Send to one partition, in this order; after an error any first part may be there.

        One batch at a time: the library would send the next one also after it gave up on the
        one before, and who knows records by their numbers would never take that one again.
        """
        start = 0
        while start < len(records):
            batch = self.producer.create_batch()
            start = self._fill(batch, topic, records, start)
            batch.close()
            sent = await self.producer.send_batch(batch, topic, partition=partition)
            await asyncio.shield(sent)

    @staticmethod
    def _fill(batch: BatchBuilder, topic: str, records: Sequence[Record], start: int) -> int:
        """Append records from `start` on; returns the first that has to wait for the next batch."""
        size = 0
        append = batch.append
        for number in range(start, len(records)):
            record = records[number]
            size += _size(record)
            if size > _BATCH_BYTES and number > start:
                return number
            added = append(
                key=record.key, value=record.value, timestamp=None, headers=record.headers
            )
            if added is None and number > start:
                return number
            if added is None:
                raise ValueError(f"{size} bytes for {topic}: at most {MAX_RECORD_BYTES} fit")
        return len(records)

    async def partition_of(self, topic: str, key: bytes | None, wanted: int | None = None) -> int:
        """Where the records of a key go, any partition without one; `wanted` if there is it."""
        place = None if key is None else self._places.get((topic, key))
        if place is not None and wanted is None:
            return place
        partitions = self._partitions.get(topic)
        if partitions is None:
            partitions = sorted(await self.producer.partitions_for(topic))
            self._partitions[topic] = partitions
        if wanted is not None and wanted in partitions:
            return wanted
        place = int(self._partitioner(key, partitions, partitions))
        if key is not None and len(self._places) < _MAX_CACHED_KEYS:
            self._places[topic, key] = place
        return place


def _size(record: Record) -> int:
    """Bytes that a record adds to a batch, near enough."""
    headers = sum(len(name) + len(value) + 4 for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers
