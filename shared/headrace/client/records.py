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


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One Kafka record before it has a place."""

    topic: str
    key: bytes
    value: bytes
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
            groups[record.topic, await self._partition(record)].append(record)
        waits = [
            wait
            for (topic, partition), group in groups.items()
            for wait in await self._send_group(topic, partition, group)
        ]
        await asyncio.gather(*waits)

    async def _send_group(
        self, topic: str, partition: int, records: Sequence[Record]
    ) -> list[asyncio.Future[object]]:
        waits: list[asyncio.Future[object]] = []
        batch: BatchBuilder | None = None
        for record in records:
            if batch is not None and batch.size() + len(record.value) > _BATCH_BYTES:
                waits.append(await self._close(batch, topic, partition))
                batch = None
            if batch is None:
                batch = self.producer.create_batch()
            if not self._append(batch, record):
                size = len(record.value)
                raise ValueError(f"{size} bytes for {topic}: at most {MAX_RECORD_BYTES} fit")
        if batch is not None:
            waits.append(await self._close(batch, topic, partition))
        return waits

    @staticmethod
    def _append(batch: BatchBuilder, record: Record) -> bool:
        appended = batch.append(
            key=record.key, value=record.value, timestamp=None, headers=record.headers
        )
        return appended is not None

    async def _close(
        self, batch: BatchBuilder, topic: str, partition: int
    ) -> asyncio.Future[object]:
        batch.close()
        sent: asyncio.Future[object] = await self.producer.send_batch(
            batch, topic, partition=partition
        )
        return sent

    async def _partition(self, record: Record) -> int:
        place = self._places.get((record.topic, record.key))
        if place is not None:
            return place
        partitions = self._partitions.get(record.topic)
        if partitions is None:
            partitions = sorted(await self.producer.partitions_for(record.topic))
            self._partitions[record.topic] = partitions
        place = int(self._partitioner(record.key, partitions, partitions))
        if len(self._places) < _MAX_CACHED_KEYS:
            self._places[record.topic, record.key] = place
        return place
