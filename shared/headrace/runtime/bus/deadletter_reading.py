"""Reading a dead-letter topic, never holding more of it than a bounded piece.

Anybody may write to such a topic, so whatever lies there is read: also what is no dead letter,
and what the client library itself cannot read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from headrace.errors import Transient
from headrace.runtime.bus.fetch import fetch_one
from headrace.runtime.bus.ports import BACKEND_TROUBLE

_KAFKA_SECONDS: Final = 10.0
_PIECE: Final = 50
_BUDGET_BYTES: Final = 32 * 1024 * 1024


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
            (
                value.decode(errors="replace")
                for key, value in self.record.headers
                if key == name and value
            ),
            "",
        )

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        record = self.record
        headers = sum(len(name) + len(value or b"") for name, value in record.headers)
        return len(record.key or b"") + len(record.value or b"") + headers


class DeadLetterTopic:
    """The one partition of a dead-letter topic; every method raises Transient if Kafka is away."""

    def __init__(self, client: AIOKafkaConsumer, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._place = TopicPartition(topic, 0)

    async def at(self, offset: int) -> DeadLetter | None:
        """The letter at an offset."""
        async with _patience(self._topic):
            first, end = await self._bounds()
            if not first <= offset < end:
                return None
            found, _ = await self._between(offset, offset + 1, budget=_BUDGET_BYTES)
        return next((letter for letter in found if letter.offset == offset), None)

    async def newest(self, limit: int, *, budget: int = _BUDGET_BYTES) -> Sequence[DeadLetter]:
        """At most `limit` letters of at most `budget` bytes together, newest first; never none."""
        letters: list[DeadLetter] = []
        async with _patience(self._topic):
            first, end = await self._bounds()
            first = max(first, end - limit)
            while end > first and budget > 0:
                start = max(first, end - _PIECE)
                found, whole = await self._between(start, end, budget=budget)
                letters.extend(reversed(found))
                if not whole:
                    break
                budget -= sum(letter.size for letter in found)
                end = start
        return letters

    async def pieces(self) -> AsyncIterator[Sequence[DeadLetter]]:
        """All that lies there now, oldest first."""
        async with _patience(self._topic):
            first, end = await self._bounds()
            self._client.seek(self._place, first)
        position = first
        while position < end:
            async with _patience(self._topic):
                piece = await self._next(end)
                position = await self._client.position(self._place)
            yield piece

    async def _between(
        self, start: int, end: int, *, budget: int
    ) -> tuple[Sequence[DeadLetter], bool]:
        """Letters from `start` up to, not including, `end`; whether all fit the budget.

        If not, these are the last of them that do, and at least one.
        """
        self._client.seek(self._place, start)
        kept: deque[DeadLetter] = deque()
        held, whole = 0, True
        while await self._client.position(self._place) < end:
            for letter in await self._next(end):
                kept.append(letter)
                held += letter.size
                while held > budget and len(kept) > 1:
                    held -= kept.popleft().size
                    whole = False
        return kept, whole

    async def _next(self, end: int) -> list[DeadLetter]:
        position = await self._client.position(self._place)
        most = min(_PIECE, end - position)
        records = await fetch_one(self._client, self._place, max_records=most)
        return [
            DeadLetter(topic=self._topic, partition=0, offset=record.offset, record=record)
            for record in records
            if record.offset < end
        ]

    async def _bounds(self) -> tuple[int, int]:
        first = await self._client.beginning_offsets([self._place])
        end = await self._client.end_offsets([self._place])
        return first[self._place], end[self._place]


@asynccontextmanager
async def open_topic(kafka: str, topic: str) -> AsyncIterator[DeadLetterTopic]:
    """Connect to Kafka. Raises Transient if it is away."""
    client = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        enable_auto_commit=False,
        # What expires while it is read was the oldest: go on with what is left.
        auto_offset_reset="earliest",
        # A seek waits for the fetch under way, which at the end of the topic waits this long.
        fetch_max_wait_ms=50,
    )
    try:
        async with _patience(topic):
            await client.start()
            client.assign([TopicPartition(topic, 0)])
        yield DeadLetterTopic(client, topic)
    finally:
        await client.stop()


@asynccontextmanager
async def _patience(topic: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_KAFKA_SECONDS):
            yield
    except BACKEND_TROUBLE as error:
        raise Transient(f"the dead letters in {topic} cannot be read: {error!r}") from error
