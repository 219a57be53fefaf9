"""The port to the database for one simulated process of one service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Final

from aiokafka import TopicPartition

from headrace.runtime.bus.ports import RelayBatch, Standing
from tests.harness.simulation.postgres.connection import SimulatedConnection
from tests.harness.simulation.postgres.ledger import SimulatedLedger
from tests.harness.simulation.postgres.server import Server
from tests.harness.simulation.postgres.transactions import Transaction
from tests.harness.simulation.process import here

IDLE_SECONDS: Final = 1.5
_KEPT_DAYS: Final = 8
_MOST_COUNTED: Final = 100_000
_MOST_DUE: Final = 100


class SimulatedDatabase:
    """`headrace.runtime.bus.ports.Database`."""

    def __init__(self, server: Server, *, service: str) -> None:
        self._server = server
        self._schema = server.schema(service)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SimulatedLedger, None]:
        connection = await self._connect(transactional=True)
        try:
            try:
                yield SimulatedLedger(connection, self._now())
            except BaseException:
                await connection.rollback()
                raise
            await connection.commit()
        finally:
            connection.close()

    async def standing(self, group: str, place: TopicPartition) -> Standing | None:
        async with self._statement() as connection:
            return await connection.run(lambda tx: self._standing(tx, group, place))

    async def begin(self, group: str, place: TopicPartition, offset: int) -> Standing:
        def insert(tx: Transaction) -> Standing:
            if tx.get(self._schema.offsets, (group, place)) is None:
                tx.put(self._schema.offsets, (group, place), offset)
            return self._standing(tx, group, place) or Standing(held=offset)

        async with self._statement() as connection:
            return await connection.run(insert)

    async def due(self, group: str) -> Sequence[tuple[TopicPartition, bytes]]:
        now = self._now()

        def find(tx: Transaction) -> list[tuple[TopicPartition, bytes]]:
            first: dict[tuple[TopicPartition, bytes], datetime] = {}
            for (owner, place, key, _), parked in tx.scan(self._schema.parked):
                if owner == group:
                    first.setdefault((place, key), parked.next_try)
            due = [where for where, next_try in first.items() if next_try <= now]
            return sorted(due, key=first.__getitem__)[:_MOST_DUE]

        async with self._statement() as connection:
            return await connection.run(find)

    async def parked(self, group: str) -> tuple[int, int]:
        def count(tx: Transaction) -> tuple[int, int]:
            waiting = [where for where, _ in tx.scan(self._schema.parked) if where[0] == group]
            return len({where[1:3] for where in waiting}), len(waiting)

        async with self._statement() as connection:
            return await connection.run(count)

    @asynccontextmanager
    async def relay_session(
        self, told: Callable[[], None]
    ) -> AsyncGenerator[SimulatedRelaySession, None]:
        connection = await self._connect(idle_seconds=IDLE_SECONDS)
        try:
            await connection.listen(told)
            yield SimulatedRelaySession(connection)
        finally:
            connection.close()

    async def tell_committed(self) -> None:
        await self._server.channel().call(self._server.notify)

    async def tidy(self, today: date) -> None:
        def drop(tx: Transaction) -> None:
            for row, _ in list(tx.scan(self._schema.inbox)):
                if (today - row[3]).days > _KEPT_DAYS:
                    tx.put(self._schema.inbox, row, None)

        async with self._statement() as connection:
            await connection.run(drop)

    @asynccontextmanager
    async def _statement(self) -> AsyncGenerator[SimulatedConnection, None]:
        connection = await self._connect()
        try:
            yield connection
        finally:
            connection.close()

    async def _connect(
        self, *, idle_seconds: float | None = None, transactional: bool = False
    ) -> SimulatedConnection:
        channel = self._server.channel()
        accept = partial(
            self._server.accept,
            process=here(),
            idle_seconds=idle_seconds,
            transactional=transactional,
        )
        session = await channel.call(accept)
        return SimulatedConnection(self._server, self._schema, channel, session)

    def _standing(self, tx: Transaction, group: str, place: TopicPartition) -> Standing | None:
        held = tx.get(self._schema.offsets, (group, place))
        if held is None:
            return None
        seen = {
            source: number
            for (owner, where, source), number in tx.scan(self._schema.seen)
            if (owner, where) == (group, place)
        }
        return Standing(held=held, seen=seen)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._server.network.wall_clock(), UTC)


class SimulatedRelaySession:
    """`headrace.runtime.bus.ports.RelaySession`."""

    def __init__(self, connection: SimulatedConnection) -> None:
        self._connection = connection
        self._schema = connection.schema

    async def lead(self) -> bool:
        return await self._connection.lead(f"relay:{self._schema.name}")

    async def incarnation(self) -> str:
        return await self._connection.run(lambda _: self._schema.incarnation)

    async def unfinished(self) -> Sequence[RelayBatch]:
        def read(tx: Transaction) -> list[RelayBatch]:
            return [self._batch(tx, first, seqs) for first, seqs in tx.scan(self._schema.batches)]

        return await self._connection.run(read)

    async def turn(self, finished: Sequence[RelayBatch], *, limit: int) -> RelayBatch | None:
        def take(tx: Transaction) -> RelayBatch | None:
            self._forget(tx, finished)
            seqs = self._lowest(tx, limit)
            if not seqs:
                return None
            last = tx.get(self._schema.last_number, 0) or 0
            tx.put(self._schema.last_number, 0, last + len(seqs))
            tx.put(self._schema.batches, last + 1, seqs)
            return self._batch(tx, last + 1, seqs)

        return await self._connection.run(take)

    async def heartbeat(self) -> None:
        await self._connection.run(lambda _: None)

    async def backlog(self) -> tuple[int, datetime | None]:
        def count(tx: Transaction) -> tuple[int, datetime | None]:
            waiting = [row for _, row in tx.scan(self._schema.outbox)][:_MOST_COUNTED]
            return len(waiting), min((row.created_at for row in waiting), default=None)

        return await self._connection.run(count)

    def _forget(self, tx: Transaction, finished: Sequence[RelayBatch]) -> None:
        for batch in finished:
            for row in batch.rows:
                tx.put(self._schema.outbox, row.seq, None)
            tx.put(self._schema.batches, batch.first, None)

    def _lowest(self, tx: Transaction, limit: int) -> tuple[int, ...]:
        taken = {seq for _, seqs in tx.scan(self._schema.batches) for seq in seqs}
        free = [seq for seq, _ in tx.scan(self._schema.outbox) if seq not in taken]
        return tuple(free[:limit])

    def _batch(self, tx: Transaction, first: int, seqs: Sequence[int]) -> RelayBatch:
        rows = [tx.get(self._schema.outbox, seq) for seq in seqs]
        return RelayBatch(first=first, rows=[row.stored for row in rows if row is not None])
