"""What a person does about records in trouble: look, retry, skip, redrive.

A parked record waits in PostgreSQL and its key with it; a dead letter lies in Kafka. Redriving a
dead letter parks it again, first of all that waits, so it is handled under the same rules and
at most once however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition

from headrace.errors import Conflict, InvalidInput, NotFound, Permanent
from headrace.events.topics import GROUPS, dead_letter_topic
from headrace.runtime.bus.deadletter import Burial, revived
from headrace.runtime.bus.deadletter_reading import DeadLetter, DeadLetterTopic, open_topic
from headrace.runtime.bus.ports import Database, Parked
from headrace.runtime.bus.postgres import parked as rows
from headrace.runtime.telemetry import Metrics

_NONE: Final[Mapping[str, Sequence[str]]] = {}


class SkippedByOperator(Permanent):
    """A person gave the record up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Redriven:
    """How many dead letters were put back to work, and how many records cannot be."""

    redriven: int
    passed_over: int


class Recovery:
    """The troubles of one service's groups: those of our table, and `foreign` ones by their topics.

    These read topics of other protocols, which their own settings name.
    """

    def __init__(
        self,
        *,
        service: str,
        kafka: str,
        pool: asyncpg.Pool,
        database: Database,
        metrics: Metrics,
        foreign: Mapping[str, Sequence[str]] = _NONE,
    ) -> None:
        ours = {
            group: [topic.name for topic in topics]
            for group, topics in GROUPS.items()
            if group.split(".")[0] == service
        }
        self._groups: Mapping[str, Sequence[str]] = {**ours, **foreign}
        self._kafka = kafka
        self._pool = pool
        self._database = database
        self._metrics = metrics

    async def parked(self) -> Sequence[rows.ParkedKey]:
        """Every key that waits, the longest waiting first."""
        return await rows.keys(self._pool)

    async def retry(self, *, group: str, topic: str, partition: int, offset: int) -> None:
        """Have the first record of a key tried now instead of later.

        Raises NotFound if nothing is parked there, Conflict if it waits behind another record.
        """
        self._known(group, topic)
        place = TopicPartition(topic, partition)
        first = await rows.make_due(self._pool, group=group, place=place, offset=offset)
        if first is None:
            raise _nothing_parked(group, topic, partition, offset)
        if first != offset:
            raise Conflict(
                f"offset: the record at offset {offset} of {topic}, partition {partition}, waits"
                f" behind the first of its key, which is at offset {first}; retry that one"
            )

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
            await rows.make_next_due(ledger.connection, group, found)
        self._metrics.dead_letters.labels(group, topic).inc()

    async def dead_letters(
        self, *, group: str, topic: str, limit: int = 200
    ) -> Sequence[DeadLetter]:
        """The newest dead letters of a group, newest first; Transient if Kafka is away.

        At most `limit`, and no more than 32 MB together.
        """
        self._known(group, topic)
        async with open_topic(self._kafka, dead_letter_topic(group, topic)) as letters:
            return await letters.newest(limit)

    async def redrive(self, *, group: str, topic: str, offset: int | None, by: str) -> Redriven:
        """Handle dead letters again: the one at `offset` of the dead-letter topic, or all.

        Those that were put back to work before are not again. Records that cannot be revived are
        passed over, unless they are asked for: then InvalidInput says why. Raises NotFound if
        there is none at that offset, Transient if Kafka is away; what was done until then holds.
        """
        self._known(group, topic)
        async with open_topic(self._kafka, dead_letter_topic(group, topic)) as letters:
            if offset is None:
                return await self._redrive_all(group, topic, letters, by)
            letter = await letters.at(offset)
        if letter is None:
            name = dead_letter_topic(group, topic)
            raise NotFound(f"offset: no dead letter at offset {offset} of {name}")
        record = revived(letter.record, topic=topic)
        return Redriven(
            redriven=int(await self._put_back(group, letter, record, by)), passed_over=0
        )

    async def _redrive_all(
        self, group: str, topic: str, letters: DeadLetterTopic, by: str
    ) -> Redriven:
        redriven = passed_over = 0
        async for piece in letters.pieces():
            for letter in piece:
                try:
                    record = revived(letter.record, topic=topic)
                except InvalidInput:
                    passed_over += 1
                else:
                    redriven += await self._put_back(group, letter, record, by)
        return Redriven(redriven=redriven, passed_over=passed_over)

    async def _put_back(
        self, group: str, letter: DeadLetter, record: ConsumerRecord, by: str
    ) -> bool:
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
            await rows.wait_behind_first(ledger.connection, group, parked)
        return True

    def _known(self, group: str, topic: str) -> None:
        if group not in self._groups:
            raise InvalidInput(
                f"group: expected one of {', '.join(self._groups)}, got {group!r}", field="group"
            )
        names = self._groups[group]
        if topic not in names:
            raise InvalidInput(
                f"topic: expected one of {', '.join(names)}, got {topic!r}", field="topic"
            )


def _nothing_parked(group: str, topic: str, partition: int, offset: int) -> NotFound:
    return NotFound(
        f"offset: {group} has no parked record at offset {offset} of {topic}, partition"
        f" {partition}; `headrace events parked` lists them"
    )
