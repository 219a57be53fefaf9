"""The client's side of one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, Final, TypeVar

import asyncpg

from tests.harness.simulation.network import Channel
from tests.harness.simulation.postgres.server import Server, Session
from tests.harness.simulation.postgres.tables import EffectRow, Schema
from tests.harness.simulation.postgres.transactions import Row, Table, Transaction

T = TypeVar("T")

_BROKEN: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
)


class SimulatedConnection:
    """Statements for the handlers of a workload; a connection that broke stays broken.

    The server learns of a broken connection later: until then it keeps what the session holds.
    """

    def __init__(self, server: Server, schema: Schema, channel: Channel, session: Session) -> None:
        self.schema = schema
        self._server = server
        self._channel = channel
        self._session = session
        self._broken = False

    async def append_effect(self, *, group: str, id_: str, key: str) -> None:
        """Note that a group handled an event."""
        row = EffectRow(group=group, id=id_, key=key)
        table = self.schema.effects
        await self.run(lambda tx: tx.put(table, self.schema.next_effect(), row))

    async def lock_aggregate(self, key: str) -> int:
        """Lock an aggregate's row; returns how often it was raised."""
        table = self.schema.aggregates
        return await self.lock_and((table, key), lambda tx: tx.get(table, key) or 0)

    async def raise_aggregate(self, key: str, position: int) -> None:
        """Write a locked aggregate's row."""
        await self.run(lambda tx: tx.put(self.schema.aggregates, key, position))

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None, None]:
        """What is written inside is undone if the block raises."""
        before = await self.run(lambda tx: tx.savepoint())
        try:
            yield
        except BaseException:
            if not self._broken:
                await self._call(lambda: self._session.rollback_to(before))
            raise

    async def run(self, run: Callable[[Transaction], T]) -> T:
        """One statement."""
        return await self._call(lambda: self._session.statement(run))

    async def lock_and(self, row: Row, run: Callable[[Transaction], T]) -> T:
        """One statement once its row is locked."""
        return await self._await(
            lambda: self._channel.wait(lambda answer: self._session.lock_and(row, run, answer))
        )

    async def lock(self, table: Table[Any, Any], key: Any) -> None:
        await self.lock_and((table, key), lambda _: None)

    async def commit(self) -> None:
        await self._call(self._session.commit)

    async def rollback(self) -> None:
        if not self._broken:
            await self._call(self._session.rollback)

    async def lead(self, lock: str) -> bool:
        return await self._call(lambda: self._session.lead(lock))

    async def listen(self, told: Callable[[], None]) -> None:
        """Call `told` in this process at every notification."""
        loop, context, delay = self._server.network.loop, copy_context(), self._server.network.delay

        def deliver() -> None:
            loop.call_later(delay(), told, context=context.copy())

        await self._call(lambda: setattr(self._session, "told", deliver))

    def close(self) -> None:
        """End the session after what was asked before."""
        self._broken = True
        self._channel.tell(self._end)

    async def _call(self, serve: Callable[[], T]) -> T:
        return await self._await(lambda: self._channel.call(serve))

    async def _await(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self._broken:
            raise asyncpg.InterfaceError("connection is closed")
        try:
            return await ask()
        except _BROKEN:
            self._break()
            raise
        except asyncio.CancelledError:
            self.close()
            raise

    def _break(self) -> None:
        self._broken = True
        network = self._server.network
        network.loop.call_outside(network.random.uniform(0.0, 2.0), self._end)

    def _end(self) -> None:
        self._session.end(asyncpg.ConnectionDoesNotExistError("the client is gone"))
