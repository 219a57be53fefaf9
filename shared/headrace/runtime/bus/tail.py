"""Reading topics without a group: for views that are rebuilt from the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.errors import UndecodableEvent
from headrace.events.contracts import by_type, states
from headrace.events.envelope import Envelope
from headrace.events.topics import Topic
from headrace.runtime.bus.decode import envelope_of, event_of
from headrace.runtime.bus.fetch import fetch
from headrace.runtime.bus.gate import Gate
from headrace.runtime.bus.model import Event, Tombstone
from headrace.runtime.telemetry import Log

_ALL_TYPES: Final = frozenset(by_type())


async def _ignore(tombstone: Tombstone) -> None:
    _ = tombstone


class Tail:
    """Gives every event of some topics to `on_event`, in order within each partition.

    Keys that a compacted topic lost go to `on_tombstone`, in the same order. Begins at the
    beginning (or the end) of the log at every start, and after a broken connection goes on where
    it was; `caught_up` is set once the log as it was at the start has been read. Undecodable
    records, and those that a relay sent again, are passed over.
    """

    def __init__(
        self,
        *,
        kafka: str,
        topics: Sequence[Topic],
        on_event: Callable[[Event[Any]], Awaitable[None]],
        log: Log,
        on_tombstone: Callable[[Tombstone], Awaitable[None]] = _ignore,
        start: Literal["beginning", "end"] = "beginning",
    ) -> None:
        self._kafka = kafka
        self._topics = [topic.name for topic in topics]
        self._on_event = on_event
        self._on_tombstone = on_tombstone
        self._log = log
        self._start = start
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._seen: dict[tuple[TopicPartition, str], str] = {}
        self.gate = Gate()
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            client = AIOKafkaConsumer(
                *self._topics,
                bootstrap_servers=self._kafka,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=100,
            )
            try:
                await client.start()
                await self._assign(client)
                await self._read(client)
            except (KafkaError, OSError) as why:
                self._log.warning("tail_interrupted", reason=repr(why))
                await asyncio.sleep(0.5)
            finally:
                await client.stop()

    async def _assign(self, client: AIOKafkaConsumer) -> None:
        places = await _all_places(client, self._topics)
        first = await client.beginning_offsets(places)
        self._ends = await client.end_offsets(places)
        for place in places:
            begin = first[place] if self._start == "beginning" else self._ends[place]
            client.seek(place, max(self._next.get(place, begin), first[place]))
            self._next.setdefault(place, begin)
        self._note_caught_up()

    async def _read(self, client: AIOKafkaConsumer) -> None:
        while True:
            async with self.gate.turn():
                fetched = await fetch(client, self._next, max_records=2000)
                for records in fetched.values():
                    for record in records:
                        await self._give(record)
                await self._note_positions(client)

    async def _note_positions(self, client: AIOKafkaConsumer) -> None:
        """Where reading goes on: compaction and transaction markers leave offsets of no record."""
        for place in self._ends:
            self._next[place] = await client.position(place)
        self._note_caught_up()

    async def _give(self, record: ConsumerRecord) -> None:
        if record.value is None and record.topic in states():
            await self._give_tombstone(record)
            return
        try:
            envelope, value = envelope_of(record)
            event = event_of(record, envelope, value, _ALL_TYPES)
        except UndecodableEvent:
            return
        except Exception as error:
            # Whatever a decoder trips over, one record must not end a view.
            self._log.warning("record_passed_over", topic=record.topic, reason=repr(error))
            return
        if event is not None and self._is_new(record, envelope):
            await self._on_event(event)

    async def _give_tombstone(self, record: ConsumerRecord) -> None:
        """Whoever deletes a key need not name an event: the broker drops the key all the same."""
        try:
            envelope, _ = envelope_of(record)
        except UndecodableEvent:
            at = _moment(record.timestamp)
        else:
            if not self._is_new(record, envelope):
                return
            at = envelope.time
        tombstone = Tombstone(
            contract=states()[record.topic],
            key=(record.key or b"").decode(errors="replace"),
            at=at,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        if tombstone.is_of_contract:
            await self._on_tombstone(tombstone)

    def _is_new(self, record: ConsumerRecord, envelope: Envelope) -> bool:
        """Whether no relay sent it before."""
        if not envelope.relayed or envelope.sequence is None:
            return True
        source = (TopicPartition(record.topic, record.partition), envelope.source)
        if envelope.sequence <= self._seen.get(source, ""):
            return False
        self._seen[source] = envelope.sequence
        return True

    def _note_caught_up(self) -> None:
        if all(self._next.get(place, 0) >= end for place, end in self._ends.items()):
            self.caught_up.set()


def _moment(milliseconds: int) -> datetime:
    """A record's time; producers may claim any, and then it is the epoch."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


async def _all_places(client: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    """Every partition of the topics; waits until the broker knows them all."""
    while True:
        places: list[TopicPartition] = sorted(client.assignment())
        if {place.topic for place in places} == set(topics):
            return places
        await asyncio.sleep(0.1)
