"""One partition batch, one transaction: effects, new events and the offset commit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition

from headrace.errors import Permanent, Transient, UndecodableEvent
from headrace.events.contracts import Data, by_model
from headrace.events.envelope import Envelope
from headrace.runtime.bus import offsets, outbox
from headrace.runtime.bus.deadletter import dead_letter
from headrace.runtime.bus.decode import envelope_of, event_of
from headrace.runtime.bus.model import Caller, Event, Subscription, Tx
from headrace.runtime.telemetry import Log, Metrics


class Fenced(Exception):
    """Another owner moved the offset of this partition; the work is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Consecutive records of one partition: from offset `held` up to, not including, `after`."""

    place: TopicPartition
    held: int
    after: int
    records: Sequence[ConsumerRecord]


@dataclass(slots=True)
class _Seen:
    """The guard against records that a relay sent again."""

    before: dict[str, str]
    now: dict[str, str] = field(default_factory=dict)

    def is_duplicate(self, envelope: Envelope) -> bool:
        """Only relays number their events so that this holds; others may count as they like."""
        source, sequence = envelope.source, envelope.sequence
        if sequence is None or not envelope.relayed:
            return False
        last = self.now.get(source) or self.before.get(source)
        if last is not None and sequence <= last:
            return True
        self.now[source] = sequence
        return False


class Effects:
    """Runs the handlers of one subscription."""

    def __init__(
        self, *, subscription: Subscription, pool: asyncpg.Pool, metrics: Metrics, log: Log
    ) -> None:
        self._subscription = subscription
        self._group = subscription.group
        self._pool = pool
        self._metrics = metrics
        self._log = log
        types = by_model()
        self._wanted = frozenset(
            types[model].type for model in (*subscription.handlers, *subscription.batches)
        )

    async def apply(self, batch: Batch, *, one_by_one: bool, attempts: int, hopeless: bool) -> bool:
        """Handle a batch in one transaction; True if it emitted events.

        `one_by_one` runs each record under a savepoint, so that one that fails with Permanent,
        or with anything but Transient once `hopeless`, is dead-lettered and the others stay.
        Raises Fenced when the partition was lost, else what the handlers raised.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            topic, part = batch.place
            place = {"group": self._group, "topic": topic, "part": part}
            if not await offsets.advance(connection, held=batch.held, after=batch.after, **place):
                raise Fenced
            seen = _Seen(await offsets.seen_sequences(connection, **place))
            tx = Tx(connection=connection, caller=None)
            events = self._decode(batch.records, seen, tx, attempts)
            for run in self._runs(events, one_by_one=one_by_one):
                if one_by_one:
                    await self._handle_alone(run, tx, attempts=attempts, hopeless=hopeless)
                else:
                    await self._handle([event for event, _ in run], tx)
                self._bury_refused(run, tx, attempts=attempts)
            if seen.now:
                await offsets.note_sequences(connection, seen=seen.now, **place)
            if tx.outgoing:
                await outbox.insert(connection, tx.outgoing)
        return bool(tx.outgoing)

    def _decode(
        self, records: Sequence[ConsumerRecord], seen: _Seen, tx: Tx, attempts: int
    ) -> list[tuple[Event[Data], ConsumerRecord]]:
        events = []
        for record in records:
            try:
                envelope, value = envelope_of(record)
                if seen.is_duplicate(envelope):
                    self._metrics.duplicates.labels(self._group, record.topic).inc()
                    continue
                event = event_of(record, envelope, value, self._wanted)
            except UndecodableEvent as error:
                self._bury(record, tx, error=error, attempts=attempts)
                continue
            if event is not None:
                events.append((event, record))
        return events

    def _runs(
        self, events: Sequence[tuple[Event[Data], ConsumerRecord]], *, one_by_one: bool
    ) -> Iterator[list[tuple[Event[Data], ConsumerRecord]]]:
        if one_by_one:
            yield from ([pair] for pair in events)
            return
        for _, run in groupby(events, key=lambda pair: type(pair[0].data)):
            yield list(run)

    async def _handle(self, events: Sequence[Event[Data]], tx: Tx) -> None:
        kind = type(events[0].data)
        together = self._subscription.batches.get(kind)
        if together is not None:
            tx.caller = None
            await together(events, tx)
            return
        handler = self._subscription.handlers[kind]
        for event in events:
            tx.caller = Caller.by(event)
            await handler(event, tx)

    async def _handle_alone(
        self,
        run: Sequence[tuple[Event[Data], ConsumerRecord]],
        tx: Tx,
        *,
        attempts: int,
        hopeless: bool,
    ) -> None:
        event, record = run[0]
        emitted = len(tx.outgoing)
        try:
            async with tx.connection.transaction():
                await self._handle([event], tx)
        except Permanent as error:
            failure: Exception = error
        except (Transient, asyncpg.InterfaceError, OSError):
            raise
        except Exception as error:
            if not hopeless:
                raise
            failure = error
        else:
            return
        del tx.outgoing[emitted:]
        tx.refused.clear()
        self._bury(record, tx, error=failure, attempts=attempts)

    def _bury_refused(
        self, run: Sequence[tuple[Event[Data], ConsumerRecord]], tx: Tx, *, attempts: int
    ) -> None:
        if not tx.refused:
            return
        records = {event.offset: record for event, record in run}
        for event, error in tx.refused:
            self._bury(records[event.offset], tx, error=error, attempts=attempts)
        tx.refused.clear()

    def _bury(self, record: ConsumerRecord, tx: Tx, *, error: Exception, attempts: int) -> None:
        self._metrics.dead_letters.labels(self._group, record.topic).inc()
        self._log.error(
            "record_dead_lettered",
            group=self._group,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=f"{type(error).__name__}: {error}",
        )
        tx.outgoing.append(dead_letter(record, group=self._group, error=error, attempts=attempts))
