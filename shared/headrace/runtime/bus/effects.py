"""One partition batch, one transaction: effects, new events and the offset commit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.events.contracts import Data, by_model
from headrace.events.topics import Topic
from headrace.runtime.bus import failpoints
from headrace.runtime.bus.deadletter import Burial
from headrace.runtime.bus.model import BatchHandler, Event, Subscription, Tx
from headrace.runtime.bus.ports import Database, Standing
from headrace.runtime.bus.reading import Batch, Reading, Wanted, read_batch
from headrace.runtime.bus.work import Attempt, Work
from headrace.runtime.caller import Caller
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log, LogContext, Metrics

Ready = Mapping[type[Data], BatchHandler]
"""Handlers of a batch whose slow work is done."""
_NOTHING: Final[Ready] = {}


class Fenced(Exception):
    """Another owner moved the offset of this partition; the work is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """A committed batch: how far the partition is now, and whether events wait for the relay."""

    standing: Standing
    emitted: bool


class Effects:
    """Runs the handlers of one subscription."""

    def __init__(
        self,
        *,
        subscription: Subscription,
        topics: Sequence[Topic],
        database: Database,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.group = subscription.group
        self.subscription = subscription
        self.wanted = _wanted(subscription)
        self.clock = clock
        self._ordered = frozenset(topic.name for topic in topics if topic.kind == "entity")
        self._database = database
        self._metrics = metrics
        self._log = log

    async def apply(self, batch: Batch, standing: Standing, attempt: Attempt) -> Applied:
        """Handle a batch in one transaction.

        Raises Fenced when the partition was lost, else what the handlers raised.
        """
        reading = read_batch(batch, standing, self.wanted, self.subscription.foreign)
        ready = await self._prepare(reading)
        after = Standing(held=batch.after, seen=reading.seen)
        async with self._database.transaction() as ledger:
            parked = await ledger.advance(self.group, batch.place, standing=standing, after=after)
            if parked is None:
                raise Fenced
            work = Work(
                effects=self, ledger=ledger, place=batch.place, attempt=attempt, ready=ready
            )
            await work.do(reading, parked=parked)
            failpoints.reach("before_commit")
        failpoints.reach("after_commit")
        duplicates = reading.duplicates + work.duplicates
        if duplicates:
            self._metrics.duplicates.labels(self.group, batch.place.topic).inc(duplicates)
        self.tell_buried(work.buried)
        return Applied(standing=after, emitted=bool(work.tx.outgoing))

    async def handle(self, events: Sequence[Event[Data]], tx: Tx, ready: Ready = _NOTHING) -> None:
        """Give consecutive events of one type to their handler."""
        kind = type(events[0].data)
        together = ready.get(kind) or self.subscription.batches.get(kind)
        if together is None and kind in self.subscription.prepared:
            together = await self.subscription.prepared[kind](events)
        if together is not None:
            tx.caller = None
            await together(events, tx)
            return
        handler = self.subscription.handlers[kind]
        for event in events:
            tx.caller = Caller.by(event)
            with LogContext(tx.caller):
                await handler(event, tx)

    async def _prepare(self, reading: Reading) -> Ready:
        """Slow work of a batch, while no transaction waits for it."""
        ready = {}
        for kind, prepare in self.subscription.prepared.items():
            events = [one.event for one in reading.taken if type(one.event.data) is kind]
            if events:
                ready[kind] = await prepare(events)
        return ready

    def keeps_order(self, topic: str) -> bool:
        """Whether the events of a key wait for one that fails."""
        return topic in self._ordered

    def tell_buried(self, burials: Sequence[Burial]) -> None:
        """Count and log dead letters, once they are committed."""
        for burial in burials:
            record = burial.record
            self._metrics.dead_letters.labels(self.group, record.topic).inc()
            self._log.error(
                "record_dead_lettered",
                group=self.group,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                error=burial.reason,
            )


def _wanted(subscription: Subscription) -> Wanted:
    contracts = by_model()
    return {
        contracts[model].type.encode(): contracts[model].decoder()
        for model in (*subscription.handlers, *subscription.batches, *subscription.prepared)
    }
