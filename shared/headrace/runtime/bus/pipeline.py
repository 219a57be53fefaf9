"""Batches of the relay on their way to Kafka, several at once, in order inside each partition."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final

from headrace.client.records import Record
from headrace.events.envelope import SPEC_VERSION
from headrace.runtime.bus.model import Verbatim
from headrace.runtime.bus.ports import RelayBatch, Sender, Stored
from headrace.runtime.tracing import Tracer

_MOST: Final = 3
_VERSION: Final = ("ce_specversion", SPEC_VERSION.encode())

_Place = tuple[str, int]


class Pipeline:
    """Publishes through one sender until that fails; then nothing more goes out.

    In a partition a batch is sent only when the one before it is acknowledged: were a later one
    taken after an earlier one got lost, consumers would take the earlier numbers, sent again,
    for duplicates.
    """

    def __init__(self, *, sender: Sender, source: str, tracer: Tracer) -> None:
        self._sender = sender
        self._tracer = tracer
        self._source = ("ce_source", source.encode())
        self._under_way: deque[tuple[RelayBatch, asyncio.Task[None], float]] = deque()
        self.last_seconds = 0.0
        self._last: dict[_Place, asyncio.Task[None]] = {}

    @property
    def empty(self) -> bool:
        """Whether everything begun is finished."""
        return not self._under_way

    @property
    def full(self) -> bool:
        """Whether no further batch may begin."""
        return len(self._under_way) >= _MOST

    @property
    def oldest(self) -> float | None:
        """Loop time when the oldest unfinished batch began."""
        return self._under_way[0][2] if self._under_way else None

    async def begin(self, batch: RelayBatch) -> None:
        """Send a batch behind those before it."""
        groups: dict[_Place, list[Record]] = defaultdict(list)
        for number, row in enumerate(batch.rows, start=batch.first):
            record = self._record(row, number)
            wanted = None if row.verbatim is None else row.verbatim.partition
            partition = await self._sender.partition_of(row.topic, record.key, wanted)
            place = row.topic, partition
            groups[place].append(record)
        parts = [self._behind_the_last(place, records) for place, records in groups.items()]
        sent = asyncio.create_task(_all(parts), name=f"relay batch {batch.first}")
        self._under_way.append((batch, sent, asyncio.get_running_loop().time()))

    def take_finished(self) -> list[RelayBatch]:
        """Batches that were acknowledged since the last call. Raises what sending raised."""
        finished = []
        while self._under_way and self._under_way[0][1].done():
            batch, sent, began = self._under_way.popleft()
            sent.result()
            self.last_seconds = asyncio.get_running_loop().time() - began
            finished.append(batch)
        return finished

    async def wait(self, *, seconds: float) -> None:
        """Return when the oldest batch is finished, or after so long."""
        if self._under_way:
            await asyncio.wait([self._under_way[0][1]], timeout=seconds)

    async def abandon(self) -> None:
        """Stop sending; what is not acknowledged is sent again by the next leader."""
        tasks = [*self._last.values(), *(sent for _, sent, _ in self._under_way)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _behind_the_last(self, place: _Place, records: Sequence[Record]) -> asyncio.Task[None]:
        sending = self._send(self._last.get(place), place, records)
        task = asyncio.create_task(sending, name=f"relay {place[0]} {place[1]}")
        self._last[place] = task
        return task

    async def _send(
        self, before: asyncio.Task[None] | None, place: _Place, records: Sequence[Record]
    ) -> None:
        if before is not None:
            await before
        with self._tracer.publish(
            topic=place[0], count=len(records), traceparents=_traceparents(records)
        ):
            await self._sender.send_to(*place, records)

    def _record(self, row: Stored, number: int) -> Record:
        if row.verbatim is not None:
            return self._verbatim(row, row.verbatim, number)
        key = row.key.encode()
        headers = [
            _VERSION,
            ("ce_id", row.id.encode()),
            self._source,
            ("ce_type", row.type.encode()),
            ("ce_partitionkey", key),
            ("ce_sequence", b"%020d" % number),
        ]
        headers.extend([(name, text.encode()) for name, text in row.headers.items()])
        return Record(topic=row.topic, key=key, value=row.payload, headers=headers)

    def _verbatim(self, row: Stored, verbatim: Verbatim, number: int) -> Record:
        own = ("headrace-id", "headrace-source", "headrace-sequence")
        headers = [
            *((name, value) for name, value in verbatim.headers if name not in own),
            ("headrace-id", row.id.encode()),
            ("headrace-source", self._source[1]),
            ("headrace-sequence", b"%020d" % number),
        ]
        return Record(topic=row.topic, key=verbatim.key, value=row.payload, headers=headers)


async def _all(parts: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*parts)


def by_topic(batches: Sequence[RelayBatch]) -> Counter[str]:
    """How many rows of each topic."""
    return Counter(row.topic for batch in batches for row in batch.rows)


def _traceparents(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        yield from (value.decode() for name, value in record.headers if name == "traceparent")
