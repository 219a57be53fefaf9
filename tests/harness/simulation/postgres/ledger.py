"""The bus's tables inside one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import cast

from aiokafka import TopicPartition

from headrace.runtime.bus.model import Outgoing
from headrace.runtime.bus.ports import Identity, Parked, Standing, Stored
from headrace.runtime.db import Connection
from tests.harness.simulation.postgres.connection import SimulatedConnection
from tests.harness.simulation.postgres.tables import Schema, Waiting
from tests.harness.simulation.postgres.transactions import K, Table, Transaction


class SimulatedLedger:
    """`headrace.runtime.bus.ports.Ledger`."""

    def __init__(self, connection: SimulatedConnection, now: datetime) -> None:
        self._connection = connection
        self._schema: Schema = connection.schema
        self._now = now

    @property
    def connection(self) -> Connection:
        return cast("Connection", self._connection)

    async def advance(
        self, group: str, place: TopicPartition, *, standing: Standing, after: Standing
    ) -> int | None:
        offsets = self._schema.offsets
        row = (group, place)
        if await self._connection.run(lambda tx: tx.get(offsets, row)) != standing.held:
            return None

        def move(tx: Transaction) -> int | None:
            if tx.get(offsets, row) != standing.held:
                return None
            tx.put(offsets, row, after.held)
            for source, number in after.seen.items():
                tx.put(self._schema.seen, (group, place, source), number)
            return len(self._parked(tx, group, place))

        return await self._connection.lock_and((offsets, row), move)

    async def hold(self, group: str, place: TopicPartition) -> None:
        await self._connection.lock(self._schema.offsets, (group, place))

    async def parked_keys(self, group: str, place: TopicPartition) -> Collection[bytes]:
        parked = await self._connection.run(lambda tx: self._parked(tx, group, place))
        return dict.fromkeys(one.key for one in parked).keys()

    async def park(self, group: str, records: Sequence[Parked]) -> None:
        def add(tx: Transaction) -> None:
            for parked in records:
                tx.put(self._schema.parked, _where(group, parked), parked)

        await self._connection.run(add)

    async def first_parked(self, group: str, place: TopicPartition, key: bytes) -> Parked | None:
        parked = await self._connection.run(lambda tx: self._parked(tx, group, place))
        return next((one for one in parked if one.key == key), None)

    async def unpark(self, group: str, parked: Parked) -> None:
        where = _where(group, parked)
        await self._connection.run(lambda tx: tx.put(self._schema.parked, where, None))

    async def postpone(
        self, group: str, parked: Parked, *, attempts: int, next_try: datetime, error: str
    ) -> None:
        later = replace(parked, attempts=attempts, next_try=next_try, error=error)
        where = _where(group, parked)
        await self._connection.run(lambda tx: tx.put(self._schema.parked, where, later))

    async def claim(self, group: str, identities: Sequence[Identity]) -> Collection[Identity]:
        inbox = self._schema.inbox
        fresh = []
        for identity in identities:
            row = (group, identity.source, identity.id, identity.day)
            note = partial(_note, inbox, row)
            if await self._connection.lock_and((inbox, row), note):
                fresh.append(identity)
        return fresh

    async def emit(self, events: Sequence[Outgoing]) -> None:
        def insert(tx: Transaction) -> None:
            for event in events:
                stored = _stored(self._schema.next_seq(), event)
                row = Waiting(stored=stored, created_at=self._now)
                tx.put(self._schema.outbox, stored.seq, row)

        await self._connection.run(insert)

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        return self._connection.savepoint()

    def _parked(self, tx: Transaction, group: str, place: TopicPartition) -> list[Parked]:
        """Of each key in the order of the log."""
        return [
            parked for where, parked in tx.scan(self._schema.parked) if where[:2] == (group, place)
        ]


def _note(inbox: Table[K, bool], row: K, tx: Transaction) -> bool:
    """Whether the row is new; it is there afterwards."""
    if tx.get(inbox, row):
        return False
    tx.put(inbox, row, value=True)
    return True


def _where(group: str, parked: Parked) -> tuple[str, TopicPartition, bytes, int]:
    return group, TopicPartition(parked.topic, parked.partition), parked.key, parked.offset


def _stored(seq: int, event: Outgoing) -> Stored:
    return Stored(
        seq=seq,
        id=event.id,
        topic=event.topic,
        key=event.key,
        type=event.type,
        payload=event.payload,
        headers=dict(event.headers),
        verbatim=event.verbatim,
    )
