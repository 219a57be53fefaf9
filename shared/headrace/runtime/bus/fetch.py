"""Fetching records, also past one that the client library itself cannot read.

aiokafka decodes header names as UTF-8 while it unpacks a batch; one bad name makes the whole
fetch raise, again and again. Then partitions are read one by one, and where that fails record
by record, until the bad record is passed; it comes back as an empty stand-in at its offset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

POLL_MS: Final = 200
_REFETCH_SECONDS: Final = 0.2
Fetched = Mapping[TopicPartition, list[ConsumerRecord]]


async def fetch(
    client: AIOKafkaConsumer, positions: Mapping[TopicPartition, int], *, max_records: int
) -> Fetched:
    """The next records of each partition; `positions` is where each one stands."""
    try:
        fetched: Fetched = await client.getmany(timeout_ms=POLL_MS, max_records=max_records)
    except UnicodeDecodeError:
        for place, position in positions.items():
            client.seek(place, position)
        await asyncio.sleep(_REFETCH_SECONDS)
        return {
            place: records
            for place, position in positions.items()
            if (records := await _one_partition(client, place, position, max_records))
        }
    return fetched


async def _one_partition(
    client: AIOKafkaConsumer, place: TopicPartition, position: int, max_records: int
) -> list[ConsumerRecord]:
    """What was fetched of it meanwhile; where that cannot be read, up to the bad record."""
    try:
        found = await client.getmany(place, timeout_ms=0, max_records=max_records)
    except UnicodeDecodeError:
        return await _past_the_bad_one(client, place, position, max_records)
    records: list[ConsumerRecord] = found.get(place, [])
    return records


async def _past_the_bad_one(
    client: AIOKafkaConsumer, place: TopicPartition, position: int, max_records: int
) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    client.seek(place, position)
    while len(records) < max_records:
        try:
            found = await client.getmany(place, timeout_ms=POLL_MS, max_records=1)
        except UnicodeDecodeError as error:
            client.seek(place, position + 1)
            return [*records, _stand_in(place, position, error)]
        if place not in found:
            break
        records.extend(found[place])
        position = records[-1].offset + 1
    return records


def _stand_in(place: TopicPartition, offset: int, error: UnicodeDecodeError) -> ConsumerRecord:
    return ConsumerRecord(
        topic=place.topic,
        partition=place.partition,
        offset=offset,
        timestamp=-1,
        timestamp_type=0,
        key=None,
        value=None,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=(("unreadable", str(error).encode()),),
    )
