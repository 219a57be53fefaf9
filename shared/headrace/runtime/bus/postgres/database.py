"""`ports.Database` over the pool of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from headrace.runtime import db
from headrace.runtime.bus.ports import Standing
from headrace.runtime.bus.postgres import inbox, parked, relaying
from headrace.runtime.bus.postgres.ledger import PostgresLedger
from headrace.runtime.bus.postgres.relaying import PostgresRelaySession

_IDLE_MS: Final = 1500
"""A leader that stands still longer than this is succeeded; it says something every 0.3 s."""

_ANSWER_SECONDS: Final = 5.0
"""A server that says nothing for so long is given up: the connection may be half open."""

_SESSION_LIMITS: Final = {
    "idle_session_timeout": str(_IDLE_MS),
    "idle_in_transaction_session_timeout": str(_IDLE_MS),
    "tcp_user_timeout": str(_IDLE_MS),
}


class Postgres:
    """The bus's tables in the schema named like the service."""

    def __init__(self, *, pool: asyncpg.Pool, url: str, service: str) -> None:
        self._pool = pool
        self._url = url
        self._service = service
        self._channel = f"headrace_outbox_{service}"

    def transaction(self) -> AbstractAsyncContextManager[PostgresLedger]:
        """A transaction on a connection of the pool."""
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[PostgresLedger]:
        async with self._pool.acquire() as connection, connection.transaction():
            yield PostgresLedger(connection)

    async def standing(self, group: str, place: TopicPartition) -> Standing | None:
        """Offset and each relay's highest number, as one snapshot."""
        row = await self._pool.fetchrow(
            "select next_offset, (select array_agg(array[source, last_seq]) from source_seq"
            " where grp=$1 and topic=$2 and part=$3) as seen"
            " from consumer_offset where grp=$1 and topic=$2 and part=$3",
            group,
            *place,
        )
        if row is None:
            return None
        seen = {source.encode(): last.encode() for source, last in row["seen"] or ()}
        return Standing(held=row["next_offset"], seen=seen)

    async def begin(self, group: str, place: TopicPartition, offset: int) -> Standing:
        """Begin at `offset` unless the group began before."""
        await self._pool.execute(
            "insert into consumer_offset (grp, topic, part, next_offset) values ($1, $2, $3, $4)"
            " on conflict do nothing",
            group,
            *place,
            offset,
        )
        return await self.standing(group, place) or Standing(held=offset)

    async def due(self, group: str) -> Sequence[tuple[TopicPartition, bytes]]:
        """Keys whose first record is due, the longest waiting first."""
        rows = await self._pool.fetch(
            "select topic, part, key from parked as p where grp=$1 and next_try <= now()"
            " and not exists (select from parked as e where e.grp=p.grp and e.topic=p.topic"
            " and e.part=p.part and e.key=p.key and e.kafka_offset < p.kafka_offset)"
            " order by next_try limit 100",
            group,
        )
        return [(TopicPartition(row["topic"], row["part"]), row["key"]) for row in rows]

    async def parked(self, group: str) -> tuple[int, int]:
        """Counted in the table."""
        return await parked.totals(self._pool, group)

    def relay_session(
        self, told: Callable[[], None]
    ) -> AbstractAsyncContextManager[PostgresRelaySession]:
        """A connection outside the pool that the server gives up if it stands still."""
        return self._relay_session(told)

    @asynccontextmanager
    async def _relay_session(self, told: Callable[[], None]) -> AsyncIterator[PostgresRelaySession]:
        connection = await db.connect(
            self._url,
            schema=self._service,
            command_seconds=_ANSWER_SECONDS,
            **_SESSION_LIMITS,
        )
        try:
            session = PostgresRelaySession(connection, lock=f"relay:{self._service}")
            await session.listen(self._channel, told)
            yield session
        finally:
            await relaying.close(connection)

    async def tell_committed(self) -> None:
        """A notification of its own: inside the transactions of writes it would queue commits."""
        await self._pool.execute("select pg_notify($1, '')", self._channel)

    async def tidy(self, today: date) -> None:
        """Make and drop the inbox's partitions."""
        async with self._pool.acquire() as connection:
            await inbox.tidy(connection, today)
