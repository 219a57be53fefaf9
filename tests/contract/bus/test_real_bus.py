"""The contract on Apache Kafka and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus import Subscription, Tx
from headrace.runtime.bus.kafka import Kafka
from headrace.runtime.bus.postgres import Postgres
from tests.contract.bus.contract import BusContract
from tests.contract.bus.world import LETTERS, TOPIC, Member
from tests.harness.bus import ends, member, skip_history
from tests.harness.simulation.kafka.log import Draft

_SERVICES: Final = ("registry", "orchestrator")
_SESSION_MS: Final = 6_000
"""The shortest that the broker allows: a dead member is missed this long."""


class RealWorld:
    """`contract.World` in a database of its own, on the broker that all tests share."""

    def __init__(
        self,
        *,
        kafka: str,
        database: TestDatabase,
        pools: Mapping[str, asyncpg.Pool],
        log: AIOKafkaConsumer,
    ) -> None:
        self._kafka = kafka
        self._database = database
        self._pools = pools
        self._log = log
        self._read: list[ConsumerRecord] = []
        self._run = uuid4().hex[:8]

    def key(self, name: str) -> str:
        return f"{name}-{self._run}"

    def broker(self, service: str) -> Kafka:
        return Kafka(self._kafka, service=service)

    def database(self, service: str) -> Postgres:
        url = self._database.url(service)
        return Postgres(pool=self._pools[service], url=url, service=service)

    @asynccontextmanager
    async def member(
        self,
        service: str,
        *,
        subscriptions: Sequence[Subscription] = (),
        instance: int = 0,
        running: bool = True,
    ) -> AsyncIterator[Member]:
        async with member(
            database=self._database,
            kafka=self._kafka,
            service=service,
            subscriptions=subscriptions,
            instance=instance,
            relay=running,
        ) as started:
            yield Member(bus=started.bus, die=started.die)

    async def send(self, topic: str, drafts: Sequence[Draft]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka)
        await producer.start()
        try:
            for draft in drafts:
                headers: Any = list(draft.headers)
                await producer.send_and_wait(topic, draft.value, key=draft.key, headers=headers)
        finally:
            await producer.stop()

    async def records(self, topic: str) -> list[ConsumerRecord]:
        found = await self._log.getmany(timeout_ms=100)
        while found:
            self._read.extend(record for records in found.values() for record in records)
            found = await self._log.getmany(timeout_ms=100)
        return [record for record in self._read if record.topic == topic]

    async def note(self, tx: Tx, text: str) -> None:
        await tx.connection.execute("insert into effect (note) values ($1)", text)

    async def notes(self, service: str) -> list[str]:
        rows = await self._pools[service].fetch("select note from effect order by number")
        return [row["note"] for row in rows]

    async def shift_offsets(self, group: str, by: int) -> None:
        await self._pool(group).execute(
            "update consumer_offset set next_offset = next_offset + $2 where grp = $1", group, by
        )

    async def offsets(self, group: str) -> list[int]:
        rows = await self._pool(group).fetch(
            "select next_offset from consumer_offset where grp = $1 order by topic, part", group
        )
        return [row["next_offset"] for row in rows]

    def _pool(self, group: str) -> asyncpg.Pool:
        return self._pools[group.partition(".")[0]]


@pytest.fixture
async def world(
    database: TestDatabase, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealWorld]:
    monkeypatch.setattr("headrace.runtime.bus.kafka._SESSION_MS", _SESSION_MS)
    async with AsyncExitStack() as stack:
        pools = {}
        for service in _SERVICES:
            await skip_history(database=database, kafka=kafka, service=service)
            pool = await db.open_pool(database.url(service), schema=service, size=2)
            stack.push_async_callback(pool.close)
            await pool.execute(
                "create table effect (number bigint generated always as identity, note text)"
            )
            pools[service] = pool
        log = await stack.enter_async_context(_log(kafka))
        yield RealWorld(kafka=kafka, database=database, pools=pools, log=log)


@asynccontextmanager
async def _log(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of what comes from now on."""
    where = await ends(kafka, [TOPIC, LETTERS])
    client = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await client.start()
    try:
        client.assign(list(where))
        for place, end in where.items():
            client.seek(place, end)
        yield client
    finally:
        await client.stop()


class TestRealBus(BusContract):
    pass
