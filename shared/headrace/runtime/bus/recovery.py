"""What a person does about records in trouble: look, retry, skip, redrive.

A parked record waits in PostgreSQL and its key with it; a dead letter lies in Kafka. Redriving a
dead letter parks it again, first of all that waits, so it is handled under the same rules and
at most once however often it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from headrace.errors import InvalidInput, NotFound, Permanent, Transient
from headrace.events.topics import GROUPS, dead_letter_topic
from headrace.runtime.bus.deadletter import Burial, revived
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Database, Parked
from headrace.runtime.bus.postgres import parked as rows

_KAFKA_SECONDS: Final = 10.0
_MOST: Final = 10_000


class SkippedByOperator(Permanent):
    """A person gave the record up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One record of a dead-letter topic; `offset` is its place there."""

    topic: str
    partition: int
    offset: int
    record: ConsumerRecord

    def header(self, name: str) -> str:
        """A header as text; empty if it is missing."""
        return next(
            (value.decode() for key, value in self.record.headers if key == name and value), ""
        )


class Recovery:
    """The troubles of one service's groups."""

    def __init__(self, *, service: str, kafka: str, pool: asyncpg.Pool, database: Database) -> None:
        self._groups = [group for group in GROUPS if group.split(".")[0] == service]
        self._kafka = kafka
        self._pool = pool
        self._database = database

    async def parked(self) -> Sequence[rows.ParkedKey]:
        """Every key that waits, the longest waiting first."""
        return await rows.keys(self._pool)

    async def retry(self, *, group: str, topic: str, partition: int, offset: int) -> None:
        """Have the first record of a key tried now instead of later. Raises NotFound."""
        self._known(group, topic)
        if not await rows.make_due(
            self._pool, group=group, topic=topic, part=partition, offset=offset
        ):
            raise _nothing_parked(group, topic, partition, offset)

    async def skip(self, *, group: str, topic: str, partition: int, offset: int, by: str) -> None:
        """Dead-letter a parked record; what waits behind it goes on. Raises NotFound."""
        self._known(group, topic)
        place = TopicPartition(topic, partition)
        async with self._database.transaction() as ledger:
            await ledger.hold(group, place)
            found = await rows.one(ledger.connection, group=group, place=place, offset=offset)
            if found is None:
                raise _nothing_parked(group, topic, partition, offset)
            burial = Burial(
                record=found.record,
                error=SkippedByOperator(f"skipped by {by}; the last error was: {found.error}"),
                attempts=found.attempts,
                at=datetime.now(UTC),
                first_failed_at=found.parked_at,
            )
            await ledger.emit([burial.letter(group)])
            await ledger.unpark(group, found)
            await rows.make_key_due(ledger.connection, group=group, place=place, key=found.key)

    async def dead_letters(self, *, group: str, topic: str) -> Sequence[DeadLetter]:
        """The latest dead letters of a group, at most 10,000; Transient if Kafka is away."""
        self._known(group, topic)
        name = dead_letter_topic(group, topic)
        try:
            async with asyncio.timeout(_KAFKA_SECONDS):
                return await _read(self._kafka, name)
        except BACKEND_TROUBLE as error:
            raise Transient(f"the dead letters in {name} cannot be read: {error!r}") from error

    async def redrive(self, *, group: str, topic: str, offset: int | None, by: str) -> int:
        """Handle dead letters again: the one at `offset` of the dead-letter topic, or all.

        Returns how many were put back to work; those that were before are not again. Raises
        NotFound if there is none at that offset.
        """
        letters = await self.dead_letters(group=group, topic=topic)
        chosen = [letter for letter in letters if offset in {None, letter.offset}]
        if offset is not None and not chosen:
            name = dead_letter_topic(group, topic)
            raise NotFound(f"offset: no dead letter at offset {offset} of {name}")
        return sum([await self._put_back(group, letter, by) for letter in chosen])

    async def _put_back(self, group: str, letter: DeadLetter, by: str) -> bool:
        record = revived(letter.record)
        place = TopicPartition(record.topic, record.partition)
        async with self._database.transaction() as ledger:
            if not await rows.note_redriven(ledger.connection, letter.topic, letter.offset, by):
                return False
            await ledger.hold(group, place)
            if await rows.one(ledger.connection, group=group, place=place, offset=record.offset):
                return False
            now = datetime.now(UTC)
            parked = Parked(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key or b"",
                record=record,
                attempts=0,
                error=f"redriven by {by}",
                parked_at=now,
                next_try=now,
            )
            await ledger.park(group, [parked])
        return True

    def _known(self, group: str, topic: str) -> None:
        if group not in self._groups:
            raise InvalidInput(
                f"group: expected one of {', '.join(self._groups)}, got {group!r}", field="group"
            )
        names = [known.name for known in GROUPS[group]]
        if topic not in names:
            raise InvalidInput(
                f"topic: expected one of {', '.join(names)}, got {topic!r}", field="topic"
            )


async def _read(kafka: str, topic: str) -> list[DeadLetter]:
    client = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await client.start()
    try:
        place = TopicPartition(topic, 0)
        client.assign([place])
        end = (await client.end_offsets([place]))[place]
        first = (await client.beginning_offsets([place]))[place]
        client.seek(place, max(first, end - _MOST))
        letters: list[DeadLetter] = []
        while await client.position(place) < end:
            found = await client.getmany(place, timeout_ms=200)
            letters.extend(
                DeadLetter(topic=topic, partition=0, offset=record.offset, record=record)
                for record in found.get(place, [])
            )
        return letters
    finally:
        await client.stop()


def _nothing_parked(group: str, topic: str, partition: int, offset: int) -> NotFound:
    return NotFound(
        f"offset: {group} has no parked record at offset {offset} of {topic}, partition"
        f" {partition}; `headrace events parked` lists them"
    )
