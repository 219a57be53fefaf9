"""Parked records: tried again in the order of their key, until they are handled or hopeless.

A key is parked when one of its records keeps failing; what comes after it waits behind it, and
the other keys of the partition flow. Both the consumer and this loop lock the partition's row,
so a key is never handled in two places at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Final

from aiokafka import TopicPartition

from headrace.errors import Permanent, UndecodableEvent
from headrace.runtime.bus.backoff import full_jitter
from headrace.runtime.bus.deadletter import Burial, describe
from headrace.runtime.bus.effects import Effects
from headrace.runtime.bus.model import Tx
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Database, Ledger, Parked
from headrace.runtime.bus.reading import read_record
from headrace.runtime.db import TRANSACTION_LOST
from headrace.runtime.telemetry import Log, Metrics

_LOOK_SECONDS: Final = 0.5
_MEASURE_SECONDS: Final = 3.0
_RECORDS_A_LOOK: Final = 100


class Parking:
    """Works the parked records of one group."""

    def __init__(
        self,
        *,
        effects: Effects,
        database: Database,
        random: Random,
        metrics: Metrics,
        log: Log,
        emitted: Callable[[], None],
    ) -> None:
        self._effects = effects
        self._group = effects.group
        self._patience = effects.subscription.patience
        self._database = database
        self._random = random
        self._metrics = metrics
        self._log = log.bind(group=effects.group)
        self._emitted = emitted
        self._measure_at = 0.0

    async def run(self) -> None:
        """Look for what is due until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.work_due()
            except BACKEND_TROUBLE as error:
                self._log.warning("backend_away", reason=repr(error))
            except Exception:
                self._log.exception("parking_failed")

    async def work_due(self) -> None:
        """Try every key that is due, each as far as it goes."""
        for place, key in await self._database.due(self._group):
            try:
                await self._work_key(place, key)
            except BACKEND_TROUBLE:
                raise
            except Exception as error:
                self._log.exception("parked_key_failed", topic=place.topic, key=repr(key))
                await self._put_off(place, key, error)
        await self._measure()

    async def _work_key(self, place: TopicPartition, key: bytes) -> None:
        """So many records at most, since the other keys of the group wait meanwhile."""
        for _ in range(_RECORDS_A_LOOK):
            if not await self._try_first(place, key):
                return

    async def _put_off(self, place: TopicPartition, key: bytes, error: Exception) -> None:
        """What cannot even be settled is tried later, so that the other keys get their turn."""
        async with self._database.transaction() as ledger:
            await ledger.hold(self._group, place)
            parked = await ledger.first_parked(self._group, place, key)
            if parked is not None:
                await self._postpone(parked, error, ledger)

    async def _measure(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._measure_at:
            return
        self._measure_at = now + _MEASURE_SECONDS
        keys, records = await self._database.parked(self._group)
        self._metrics.parked.labels(self._group).set(keys)
        self._metrics.parked_records.labels(self._group).set(records)

    async def _try_first(self, place: TopicPartition, key: bytes) -> bool:
        """Handle the first record of a key; whether it is gone."""
        burials: list[Burial] = []
        async with self._database.transaction() as ledger:
            await ledger.hold(self._group, place)
            parked = await ledger.first_parked(self._group, place, key)
            if parked is None or parked.next_try > self._effects.clock.now():
                return False
            tx = Tx(connection=ledger.connection, caller=None)
            error = await self._failure_of(parked, tx, ledger)
            gone = await self._settle(parked, error, tx, ledger, burials)
            if tx.outgoing:
                await ledger.emit(tx.outgoing)
        self._effects.tell_buried(burials)
        if tx.outgoing:
            self._emitted()
        return gone

    async def _failure_of(self, parked: Parked, tx: Tx, ledger: Ledger) -> Exception | None:
        try:
            foreign = self._effects.subscription.foreign
            event = read_record(parked.record, self._effects.wanted, foreign)
        except UndecodableEvent as error:
            return error
        if event is None:
            return None
        try:
            async with ledger.savepoint():
                await self._effects.handle([event], tx)
        except TRANSACTION_LOST:
            raise
        except Exception as error:
            tx.outgoing.clear()
            tx.refused.clear()
            return error
        return tx.refused[0][1] if tx.refused else None

    async def _settle(
        self,
        parked: Parked,
        error: Exception | None,
        tx: Tx,
        ledger: Ledger,
        burials: list[Burial],
    ) -> bool:
        """Forget the record, bury it, or let it wait; whether it is gone."""
        attempts = parked.attempts + 1
        if error is None:
            await self._release(parked, ledger)
            return True
        if isinstance(error, Permanent) or attempts >= self._patience.parked_attempts:
            burial = Burial(
                record=parked.record,
                error=error,
                attempts=attempts,
                at=self._effects.clock.now(),
                first_failed_at=parked.parked_at,
            )
            burials.append(burial)
            tx.outgoing.append(burial.letter(self._group))
            await self._release(parked, ledger)
            return True
        await self._postpone(parked, error, ledger)
        return False

    async def _release(self, parked: Parked, ledger: Ledger) -> None:
        """Forget the record; what waited behind it is due now."""
        await ledger.unpark(self._group, parked)
        place = TopicPartition(parked.topic, parked.partition)
        following = await ledger.first_parked(self._group, place, parked.key)
        if following is not None:
            await ledger.postpone(
                self._group,
                following,
                attempts=following.attempts,
                next_try=self._effects.clock.now(),
                error=following.error,
            )

    async def _postpone(self, parked: Parked, error: Exception, ledger: Ledger) -> None:
        attempts = parked.attempts + 1
        longest = self._patience.longest_parked_pause
        pause = timedelta(seconds=1 + full_jitter(attempts, longest=longest, random=self._random))
        await ledger.postpone(
            self._group,
            parked,
            attempts=attempts,
            next_try=self._effects.clock.now() + pause,
            error=describe(error),
        )
