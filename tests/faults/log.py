"""The log as it lies in Kafka: read from a mark to the end, and written to once more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.events.topics import GROUPS, dead_letter_topic
from tests.faults.worker import FIRST, SECOND

TOPICS: Final = tuple(topic.name for group in (FIRST, SECOND) for topic in GROUPS[group])
_SECONDS: Final = 30.0
Marks = Mapping[TopicPartition, int]


def dead_letter_topics(group: str) -> list[str]:
    """Where the group's dead letters are."""
    return [dead_letter_topic(group, topic.name) for topic in GROUPS[group]]


@asynccontextmanager
async def reader(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A client without a group, past every proxy. Waits for a broker that is coming up."""
    topics = [*TOPICS, *dead_letter_topics(FIRST), *dead_letter_topics(SECOND)]
    client = AIOKafkaConsumer(*topics, bootstrap_servers=kafka, enable_auto_commit=False)
    await _started(client)
    try:
        yield client
    finally:
        await client.stop()


async def ends(client: AIOKafkaConsumer) -> Marks:
    """Where the log ends now."""
    found: Marks = await client.end_offsets(client.assignment())
    return found


async def read(client: AIOKafkaConsumer, begin: Marks) -> list[ConsumerRecord]:
    """Everything from the marks to the present end. Raises TimeoutError after 30 s."""
    end = await ends(client)
    for place, offset in begin.items():
        client.seek(place, offset)
    found: list[ConsumerRecord] = []
    async with asyncio.timeout(_SECONDS):
        while await _short_of(client, end):
            fetched = await client.getmany(timeout_ms=200)
            found.extend(record for records in fetched.values() for record in records)
    return found


async def _short_of(client: AIOKafkaConsumer, end: Marks) -> bool:
    for place, offset in end.items():
        if await client.position(place) < offset:
            return True
    return False


async def send_again(kafka: str, records: Sequence[ConsumerRecord]) -> None:
    """Publish records as they are, where they are, behind all others."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await _started(producer)
    try:
        for record in records:
            await producer.send_and_wait(
                record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
    finally:
        await producer.stop()


async def _started(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                await client.start()
            except KafkaError:
                await asyncio.sleep(0.2)
            else:
                return
