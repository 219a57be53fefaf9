"""One partition of one member: fetch from where PostgreSQL says, apply, and again.

Offsets are PostgreSQL's. A fetch counts only if the client stood where this lane left it; after
any exception what was fetched is dropped, the standing is read anew and the client set back to
it. Partitions do not wait for one another: while one is in its transaction, or paused between
two tries, the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from headrace.errors import Permanent
from headrace.runtime.bus.backoff import full_jitter
from headrace.runtime.bus.deadletter import describe
from headrace.runtime.bus.effects import Effects, Fenced
from headrace.runtime.bus.fetch import fetch_one
from headrace.runtime.bus.gate import Gate
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Database, Reader, Standing
from headrace.runtime.bus.reading import Batch
from headrace.runtime.bus.work import Attempt
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import Tracer

_ALARM_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What the lanes of one member share."""

    effects: Effects
    database: Database
    gate: Gate
    slots: asyncio.Semaphore
    random: Random
    metrics: Metrics
    tracer: Tracer
    log: Log
    emitted: Callable[[], None]


class Lane:
    """Runs one partition until it is told to stop or is cancelled."""

    def __init__(self, *, place: TopicPartition, reader: Reader, around: Surroundings) -> None:
        self.place = place
        self.last_poll = asyncio.get_running_loop().time()
        self.out_of_log: str | None = None
        self.paused = False
        self.fetching = False
        self.failing_since: float | None = None
        self.failure = ""
        self.standing: Standing | None = None
        self._reader = reader
        self._around = around
        self._group = around.effects.group
        self._patience = around.effects.subscription.patience
        self._position = -1
        self._handled_to = 0.0
        self._held = -1
        self._failed_at = -1
        self._attempt = Attempt()
        self.stopping = False

    @property
    def behind(self) -> int:
        """Records of the log, as far as the client has heard of it, that are not handled."""
        with contextlib.suppress(KafkaError):
            end = self._reader.highwater(self.place)
            if end is not None and self._held >= 0:
                return max(0, end - self._held)
        return 0

    def seconds_behind(self, now: float) -> float:
        """Age of the last record handled while others wait; `now` is seconds since the epoch."""
        if not self.behind:
            return 0.0
        self._handled_to = self._handled_to or now
        return max(0.0, now - self._handled_to)

    def stop(self) -> None:
        """Let `run` return once what is in hand is finished."""
        self.stopping = True

    async def run(self) -> None:
        """Fetch and apply."""
        while not self.stopping:
            try:
                async with self._around.gate.turn():
                    if not self.stopping:
                        await self._turn()
            except Fenced:
                await self._fenced()
            except OffsetOutOfRangeError as error:
                await self._alarm(error)
            except (IllegalStateError, NoOffsetForPartitionError):
                await self._not_settled()
            except BACKEND_TROUBLE as error:
                await self._wait_out(error)
            except Exception as error:
                await self._failed(error)

    async def _turn(self) -> None:
        standing = self.standing or await self._stand()
        if self._position < 0 or await self._reader.position(self.place) != self._position:
            self._reader.seek(self.place, standing.held)
            self._position = standing.held
        self.fetching = True
        try:
            records = await self._fetch()
        finally:
            self.fetching = False
        self.last_poll = asyncio.get_running_loop().time()
        expected, self._position = self._position, await self._reader.position(self.place)
        self.out_of_log = None
        if not records:
            return
        if records[0].offset < expected or self._position <= standing.held:
            self._forget()
            return
        batch = Batch(place=self.place, held=standing.held, after=self._position, records=records)
        await self._apply(batch, standing)

    async def _fetch(self) -> list[ConsumerRecord]:
        """The next records; where it is worth waiting for more, those of a while."""
        subscription = self._around.effects.subscription
        limit, gathering = subscription.max_records, subscription.gathering
        records = await fetch_one(self._reader, self.place, max_records=limit)
        if gathering is None or not records:
            return records
        now = asyncio.get_running_loop().time
        until, size = now() + gathering.seconds, _size(records)
        while len(records) < limit and size < gathering.max_bytes and not self.stopping:
            if now() >= until or self._around.gate.closed:
                break
            self.last_poll = now()
            more = await fetch_one(self._reader, self.place, max_records=limit - len(records))
            records += more
            size += _size(more)
        return records

    async def _stand(self) -> Standing:
        database, reader, place = self._around.database, self._reader, self.place
        standing = await database.standing(self._group, place)
        if standing is None:
            first = (await reader.beginning_offsets([place]))[place]
            standing = await database.begin(self._group, place, first)
        if self._failed_at not in {-1, standing.held}:
            self._attempt = Attempt()
        self.standing = standing
        self._held = standing.held
        self._position = -1
        return standing

    async def _apply(self, batch: Batch, standing: Standing) -> None:
        metrics = self._around.metrics
        async with self._around.slots:
            began = time.perf_counter()
            with self._around.tracer.batch(
                group=self._group,
                place=self.place,
                traceparents=_traceparents(batch.records),
                count=len(batch.records),
            ):
                applied = await self._around.effects.apply(batch, standing, self._attempt)
        seconds = time.perf_counter() - began
        metrics.processed.labels(self._group).observe(seconds)
        metrics.operation.labels("process").observe(seconds)
        self.standing = applied.standing
        self._held = applied.standing.held
        self._attempt = Attempt()
        self._failed_at = -1
        self.failing_since = None
        if applied.emitted:
            self._around.emitted()
        metrics.consumed.labels(self._group, self.place.topic).inc(len(batch.records))
        self._handled_to = max(0.0, batch.records[-1].timestamp / 1000)

    def _forget(self) -> None:
        if self.standing is not None:
            self._failed_at = self.standing.held
        self.standing = None

    async def _fenced(self) -> None:
        self._around.metrics.fenced.labels(self._group).inc()
        self._around.log.warning("batch_fenced", topic=self.place.topic, part=self.place.partition)
        self._forget()
        await self._pause(full_jitter(2, longest=1, random=self._around.random))

    async def _alarm(self, error: OffsetOutOfRangeError) -> None:
        """The log no longer holds what comes next: a person decides, nothing is skipped."""
        self.out_of_log = repr(error)
        self._around.log.error(
            "stored_offset_outside_log", topic=self.place.topic, part=self.place.partition
        )
        self._forget()
        await self._pause(_ALARM_SECONDS)

    async def _not_settled(self) -> None:
        """The assignment came or went under a call: the client says so once and is set anew."""
        self._forget()
        await asyncio.sleep(_SETTLE_SECONDS)

    async def _wait_out(self, error: Exception) -> None:
        self._around.log.warning(
            "backend_away", topic=self.place.topic, part=self.place.partition, reason=repr(error)
        )
        self._forget()
        await self._pause(full_jitter(4, longest=1, random=self._around.random))

    async def _failed(self, error: Exception) -> None:
        """A handler failed: find the record at once if that is all, else try again later."""
        self.failing_since = self.failing_since or asyncio.get_running_loop().time()
        self.failure = describe(error)
        if isinstance(error, Permanent) and not self._attempt.isolate:
            self._forget()
            self._attempt = Attempt(number=self._attempt.number, isolate=True)
        else:
            await self._try_later(error)

    async def _try_later(self, error: Exception) -> None:
        number = self._attempt.number
        self._around.metrics.retries.labels(self._group).inc()
        self._around.log.warning(
            "batch_failed",
            topic=self.place.topic,
            part=self.place.partition,
            attempt=number,
            error=repr(error),
        )
        self._forget()
        last = number + 1 >= self._patience.attempts
        self._attempt = Attempt(number=number + 1, isolate=last, last=last)
        longest = self._patience.longest_pause
        await self._pause(full_jitter(number, longest=longest, random=self._around.random))

    async def _pause(self, seconds: float) -> None:
        """Leave the partition alone for a while; what the client holds of it is dropped."""
        with contextlib.suppress(KafkaError):
            self._reader.pause(self.place)
        self.paused = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.paused = False
            with contextlib.suppress(KafkaError):
                self._reader.resume(self.place)


def _size(records: Sequence[ConsumerRecord]) -> int:
    return sum(len(record.value or b"") for record in records)


def _traceparents(records: Sequence[ConsumerRecord]) -> Iterator[str]:
    """What each record was made in; read only when somebody traces."""
    for record in records:
        for name, value in record.headers:
            if name == "traceparent" and value is not None:
                yield value.decode(errors="replace")
