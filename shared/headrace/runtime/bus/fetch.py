"""Fetching records, also past one that the client library itself cannot read.

aiokafka decodes header names as UTF-8 while it unpacks a batch; one bad name makes the whole
fetch raise, again and again. Then the partition is read record by record until the bad one is
passed; it comes back as an empty stand-in at its offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from headrace.runtime.bus.ports import Reader

POLL_MS: Final = 200


Fetched = Mapping[TopicPartition, list[ConsumerRecord]]


async def fetch(
    reader: Reader, positions: Mapping[TopicPartition, int], *, max_records: int
) -> Fetched:
    """The next records of several partitions; `positions` is where each one stands."""
    try:
        return await reader.getmany(timeout_ms=POLL_MS, max_records=max_records)
    except UnicodeDecodeError:
        for place, position in positions.items():
            reader.seek(place, position)
        return {
            place: records
            for place in positions
            if (records := await fetch_one(reader, place, max_records=max_records))
        }


async def fetch_one(
    reader: Reader, place: TopicPartition, *, max_records: int
) -> list[ConsumerRecord]:
    """The next records of one partition; empty after 0.2 s without any."""
    position = await reader.position(place)
    try:
        found = await reader.getmany(place, timeout_ms=POLL_MS, max_records=max_records)
    except UnicodeDecodeError:
        return await _past_the_bad_one(reader, place, position, max_records)
    return found.get(place, [])


async def _past_the_bad_one(
    reader: Reader, place: TopicPartition, position: int, max_records: int
) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    reader.seek(place, position)
    while len(records) < max_records:
        try:
            found = await reader.getmany(place, timeout_ms=POLL_MS, max_records=1)
        except UnicodeDecodeError as error:
            reader.seek(place, position + 1)
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
