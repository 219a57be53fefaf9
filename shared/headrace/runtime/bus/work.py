"""What is done inside the transaction of one partition batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.errors import Permanent, Transient
from headrace.events.contracts import Data
from headrace.runtime.bus.deadletter import Burial, describe
from headrace.runtime.bus.model import Event, Tx
from headrace.runtime.bus.ports import Ledger, Parked
from headrace.runtime.bus.reading import Reading, Taken
from headrace.runtime.db import TRANSACTION_LOST

if TYPE_CHECKING:
    from headrace.runtime.bus.effects import Effects, Ready

_AWAY: Final = (OSError, TimeoutError, KafkaError)
"""What libraries raise inside a handler when something that it needs is away."""


NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""A record behind the first of its key is due when that one is gone, not at a time."""

WAITS: Final = "waits for an earlier record of its key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Which try of a batch this is.

    `isolate` finds the records that fail, so that the others stay; `last` sets aside those that
    fail with what another try might mend.
    """

    number: int = 1
    isolate: bool = False
    last: bool = False


class Work:
    """Gives a batch's events to their handlers, and keeps apart what must wait or is hopeless."""

    def __init__(
        self,
        *,
        effects: Effects,
        ledger: Ledger,
        place: TopicPartition,
        attempt: Attempt,
        ready: Ready,
    ) -> None:
        self._effects = effects
        self._ledger = ledger
        self._place = place
        self._attempt = attempt
        self._ready = ready
        self._ordered = effects.keeps_order(place.topic)
        self._waiting: set[bytes] = set()
        self._parked: list[Parked] = []
        self._doubtful: list[tuple[ConsumerRecord, Exception]] = []
        self._handled = 0
        self.buried: list[Burial] = []
        self.duplicates = 0
        self.tx = Tx(connection=ledger.connection, caller=None)

    async def do(self, reading: Reading, *, parked: int) -> None:
        """Everything between the compare-and-set and the commit."""
        for record, error in reading.refused:
            self._bury(record, error)
        taken = await self._first_seen(reading.taken)
        if parked and self._ordered:
            self._waiting.update(await self._ledger.parked_keys(self._effects.group, self._place))
        for run in _runs(taken):
            await self._take(run)
        self._judge_doubtful()
        if self._parked:
            await self._ledger.park(self._effects.group, self._parked)
        if self.tx.outgoing:
            await self._ledger.emit(self.tx.outgoing)

    async def _first_seen(self, taken: list[Taken]) -> list[Taken]:
        """Without what a foreign producer sent before, in this batch or an earlier one."""
        identities = {one.foreign: None for one in taken if one.foreign is not None}
        if not identities or self._effects.subscription.twins_harmless:
            return taken
        new = set(await self._ledger.claim(self._effects.group, list(identities)))
        kept = []
        for one in taken:
            if one.foreign is None:
                kept.append(one)
            elif one.foreign in new:
                new.discard(one.foreign)
                kept.append(one)
        self.duplicates += len(taken) - len(kept)
        return kept

    async def _take(self, run: Sequence[Taken]) -> None:
        """Handle a run of one type; where it fails and may be isolated, each half by itself."""
        if self._waiting:
            run = self._behind_their_key(run)
        if not run:
            return
        failure = await self._failure_of(run)
        if failure is None:
            self._handled += len(run)
            self._bury_refused(run)
        elif len(run) > 1:
            middle = len(run) // 2
            await self._take(run[:middle])
            await self._take(run[middle:])
        else:
            self._set_aside(run[0], failure)

    async def _failure_of(self, run: Sequence[Taken]) -> Exception | None:
        """What handling the run raised, with its effects undone; None if it went well."""
        events = [one.event for one in run]
        if not self._attempt.isolate:
            await self._handle(events)
            return None
        emitted = len(self.tx.outgoing)
        try:
            async with self._ledger.savepoint():
                await self._handle(events)
        except TRANSACTION_LOST:
            raise
        except Exception as error:
            del self.tx.outgoing[emitted:]
            self.tx.refused.clear()
            return error
        return None

    async def _handle(self, events: Sequence[Event[Data]]) -> None:
        try:
            await self._effects.handle(events, self.tx, self._ready)
        except _AWAY as error:
            raise Transient(describe(error)) from error

    def _behind_their_key(self, run: Sequence[Taken]) -> list[Taken]:
        """Park what has to wait for an earlier record of its key; returns the rest."""
        free = []
        for one in run:
            if (one.record.key or b"") in self._waiting:
                self._park(one, error=WAITS, attempts=0, next_try=NEVER)
            else:
                free.append(one)
        return free

    def _set_aside(self, one: Taken, failure: Exception) -> None:
        if isinstance(failure, Permanent):
            self._bury(one.record, failure)
        elif not self._attempt.last:
            raise failure
        elif self._ordered:
            self._waiting.add(one.record.key or b"")
            next_try = self._effects.clock.now() + timedelta(seconds=1)
            attempts = self._attempt.number
            self._park(one, error=describe(failure), attempts=attempts, next_try=next_try)
        elif isinstance(failure, Transient):
            self._doubtful.append((one.record, failure))
        else:
            self._bury(one.record, failure)

    def _judge_doubtful(self) -> None:
        """Telemetry that fails for want of something: alone at fault only if others go well.

        If nothing goes well, what they need is away for all; the stream waits for it, since
        dead-lettering would empty the topic.
        """
        if self._doubtful and not self._handled:
            raise self._doubtful[0][1]
        for record, failure in self._doubtful:
            self._bury(record, failure)

    def _bury_refused(self, run: Sequence[Taken]) -> None:
        if not self.tx.refused:
            return
        records = {one.record.offset: one.record for one in run}
        for event, error in self.tx.refused:
            self._bury(records[event.offset], error)
        self.tx.refused.clear()

    def _bury(self, record: ConsumerRecord, error: Exception) -> None:
        burial = Burial(
            record=record, error=error, attempts=self._attempt.number, at=self._effects.clock.now()
        )
        self.buried.append(burial)
        self.tx.outgoing.append(burial.letter(self._effects.group))

    def _park(self, one: Taken, *, error: str, attempts: int, next_try: datetime) -> None:
        parked = Parked(
            topic=one.record.topic,
            partition=one.record.partition,
            offset=one.record.offset,
            key=one.record.key or b"",
            record=one.record,
            attempts=attempts,
            error=error,
            parked_at=self._effects.clock.now(),
            next_try=next_try,
        )
        self._parked.append(parked)


def _runs(taken: Sequence[Taken]) -> Iterator[list[Taken]]:
    for _, run in groupby(taken, key=lambda one: type(one.event.data)):
        yield list(run)
